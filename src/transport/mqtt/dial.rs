//! Opens a connection: address, TCP, TLS, CONNECT and CONNACK, each within its time.

use super::link::LinkOptions;
use super::message::last_will;
use bytes::BytesMut;
use rumqttc::mqttbytes::v5::{
    ConnAck, Connect, ConnectAuth, ConnectProperties, ConnectReturnCode, Packet,
};
use rumqttc::mqttbytes::{self};
use rumqttc::tokio_rustls::TlsConnector;
use rumqttc::tokio_rustls::rustls::pki_types::ServerName;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

/// For each of: address and TCP, TLS, CONNACK.
const STAGE_LIMIT: Duration = Duration::from_secs(10);
/// The least time for one of several addresses.
const ADDRESS_LIMIT: Duration = Duration::from_secs(2);

/// What to do where the service may not reach the broker.
const BROKER_ACCESS: &str =
    "slmd.service reaches this machine only, until broker-access.conf lets it (docs/systemd.md)";

/// A TCP or TLS stream.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A TCP stream that acknowledges at once what it reads. Brokers that do not set TCP_NODELAY
/// (mosquitto does not by itself) hold a small packet back until the one before it is acknowledged,
/// which Linux puts off for 40 ms: a prompt would wait that long behind the PUBACK of an answer.
struct Prompt(TcpStream);

impl AsyncRead for Prompt {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.0).poll_read(cx, buffer);
        if done.is_ready() {
            // The kernel forgets it again. Slower is no reason to give up the connection.
            let _ = self.0.set_quickack(true);
        }
        done
    }
}

impl AsyncWrite for Prompt {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// A connection that the broker has accepted.
pub(super) struct Dialled {
    pub stream: Box<dyn Stream>,
    /// What came after CONNACK.
    pub incoming: BytesMut,
    pub accepted: ConnAck,
}

/// Why there is no connection, for people.
pub(super) type Refusal = String;

/// Connects.
pub(super) async fn dial(options: LinkOptions) -> Result<Dialled, Refusal> {
    let place = format!("{}:{}", options.host, options.port);
    let tcp = within(&place, "TCP", connect(&options.host, options.port)).await?;
    // Answers and acknowledgements are small and wanted now.
    tcp.set_nodelay(true).map_err(|e| e.to_string())?;
    let tcp = Prompt(tcp);
    let mut stream: Box<dyn Stream> = match &options.tls {
        None => Box::new(tcp),
        Some(tls) => {
            let name = ServerName::try_from(options.host.clone())
                .map_err(|_| format!("{:?} is no name of a server", options.host))?;
            let handshake = TlsConnector::from(tls.0.clone()).connect(name, tcp);
            Box::new(within(&place, "TLS", handshake).await?)
        }
    };
    let mut incoming = BytesMut::with_capacity(4096);
    let greeting = greet(&mut stream, &mut incoming, &options);
    let accepted = within(&place, "MQTT", greeting).await?;
    match accepted.code {
        ConnectReturnCode::Success => Ok(Dialled { stream, incoming, accepted }),
        code => Err(refused(&place, code, &accepted)),
    }
}

async fn within<T, E: ToString>(
    place: &str,
    stage: &str,
    step: impl Future<Output = Result<T, E>>,
) -> Result<T, Refusal> {
    match timeout(STAGE_LIMIT, step).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(e)) => Err(format!("{place}: {stage}: {}", e.to_string())),
        Err(_) => Err(format!("{place}: {stage}: no answer within {} s", STAGE_LIMIT.as_secs())),
    }
}

/// Tries the host's addresses one after the other; a dead one does not use up the others' time.
async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let addresses: Vec<SocketAddr> = lookup_host((host, port)).await.map_err(no_name)?.collect();
    let each = STAGE_LIMIT / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    let each = each.max(ADDRESS_LIMIT);
    let mut last = io::Error::other("the name has no address");
    for address in addresses {
        match timeout(each, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(e)) => last = forbidden(e),
            Err(_) => last = io::Error::other(format!("no answer from {address}")),
        }
    }
    Err(last)
}

/// What `IPAddressDeny=` of a service does to a connection, which nobody would guess.
fn forbidden(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::PermissionDenied => io::Error::other(format!("{error}; {BROKER_ACCESS}")),
        _ => error,
    }
}

/// The same, of the question for an address.
fn no_name(error: io::Error) -> io::Error {
    // systemd sets it for every service.
    match std::env::var_os("INVOCATION_ID") {
        Some(_) => io::Error::other(format!("{error}; if it is known elsewhere: {BROKER_ACCESS}")),
        None => error,
    }
}

/// CONNECT and its answer.
async fn greet(
    stream: &mut Box<dyn Stream>,
    incoming: &mut BytesMut,
    options: &LinkOptions,
) -> Result<ConnAck, String> {
    let mut outgoing = BytesMut::new();
    hello(options).write(&mut outgoing, None).map_err(|e| format!("CONNECT: {e}"))?;
    stream.write_all(&outgoing).await.map_err(|e| e.to_string())?;
    stream.flush().await.map_err(|e| e.to_string())?;
    loop {
        match next_packet(incoming, options.max_packet_bytes)? {
            Some(Packet::ConnAck(accepted)) => return Ok(accepted),
            Some(other) => return Err(format!("{:?} instead of CONNACK", other.packet_type())),
            None => {}
        }
        match stream.read_buf(incoming).await {
            Ok(0) => return Err("closed before CONNACK; is it an MQTT 5 broker?".into()),
            Ok(_) => {}
            Err(e) => return Err(e.to_string()),
        }
    }
}

fn hello(options: &LinkOptions) -> Packet {
    let properties = ConnectProperties {
        session_expiry_interval: Some(options.session_expiry_s),
        receive_maximum: Some(options.receive_maximum),
        max_packet_size: Some(options.max_packet_bytes),
        // Topic aliases are off, which 0 and absence both mean.
        ..ConnectProperties::new()
    };
    let connect = Connect {
        keep_alive: u16::try_from(options.keep_alive.as_secs()).unwrap_or(u16::MAX),
        client_id: options.client_id.clone(),
        clean_start: false,
        properties: Some(properties),
    };
    let auth = match (options.username.clone(), options.password.clone()) {
        (None, None) => ConnectAuth::None,
        (Some(username), None) => ConnectAuth::Username { username },
        (None, Some(password)) => ConnectAuth::Password { password },
        (Some(username), Some(password)) => ConnectAuth::UsernamePassword { username, password },
    };
    Packet::Connect(connect, options.will.clone().map(last_will), auth)
}

/// The next whole packet of the buffer, which is left as it is if there is none.
pub(super) fn next_packet(incoming: &mut BytesMut, limit: u32) -> Result<Option<Packet>, String> {
    let before = incoming.len();
    match Packet::read(incoming, Some(limit)) {
        Ok(packet) => Ok(Some(packet)),
        // Within a whole packet it means that the packet is cut short, not that more will come.
        Err(mqttbytes::Error::InsufficientBytes(_)) if incoming.len() == before => Ok(None),
        Err(e) => Err(format!("a packet that is not MQTT 5: {e}")),
    }
}

fn refused(place: &str, code: ConnectReturnCode, accepted: &ConnAck) -> Refusal {
    let hint = match code {
        ConnectReturnCode::BadUserNamePassword => "wrong user name or password",
        ConnectReturnCode::NotAuthorized => "not authorised",
        ConnectReturnCode::ClientIdentifierNotValid => "the client id is not accepted",
        ConnectReturnCode::BadAuthenticationMethod => "the authentication method is not accepted",
        ConnectReturnCode::RefusedProtocolVersion
        | ConnectReturnCode::UnsupportedProtocolVersion => "the broker does not speak MQTT 5",
        ConnectReturnCode::RetainNotSupported => "the broker keeps no retained messages",
        ConnectReturnCode::PacketTooLarge => "the last will is too large for the broker",
        _ => "",
    };
    let said = accepted.properties.as_ref().and_then(|p| p.reason_string.as_deref());
    let mut text = format!("{place}: refused: {code:?}");
    for more in [hint, said.unwrap_or("")].into_iter().filter(|m| !m.is_empty()) {
        text.push_str(", ");
        text.push_str(more);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forbidden_connection_says_what_to_do() {
        let said = |code| forbidden(io::Error::from_raw_os_error(code)).to_string();
        assert!(said(1).contains("broker-access.conf"), "{}", said(1));
        assert!(!said(111).contains("broker-access.conf"), "{}", said(111));
    }
}
