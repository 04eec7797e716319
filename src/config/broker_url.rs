//! `mqtt://HOST:PORT`.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// Where the broker is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerUrl {
    /// A name or an address, IPv6 without brackets.
    pub host: String,
    /// The port, written or by custom.
    pub port: u16,
    /// `mqtts`.
    pub tls: bool,
}

impl BrokerUrl {
    /// Parses `mqtt://HOST[:PORT]` and `mqtts://HOST[:PORT]`.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub fn parse(url: &str) -> Result<Self, String> {
        let (tls, rest) = match (url.strip_prefix("mqtt://"), url.strip_prefix("mqtts://")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ => return Err(format!("{url:?} must begin with mqtt:// or mqtts://")),
        };
        if rest.contains('@') {
            return Err("a user name or password does not belong here: see `username` and \
                        `password-file`"
                .into());
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if let Some(at) = rest.find(['/', '?', '#']) {
            return Err(format!("nothing may follow host and port, but {:?} does", &rest[at..]));
        }
        let (host, port) = split_port(rest)?;
        let fine = |c: char| c.is_alphanumeric() || "-_.:".contains(c);
        if host.is_empty() || host.len() > 253 || !host.chars().all(fine) {
            return Err(format!("{host:?} is no name or address of a host"));
        }
        let by_custom = if tls { 8883 } else { 1883 };
        let port = port.map_or(Some(by_custom), |p| p.parse().ok().filter(|&p| p > 0));
        let port = port.ok_or("a port is a number from 1 to 65535")?;
        Ok(Self { host: host.into(), port, tls })
    }

    /// Whether it is this machine: what is said to it cannot be overheard on a network.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "mqtts" } else { "mqtt" };
        match self.host.contains(':') {
            true => write!(f, "{scheme}://[{}]:{}", self.host, self.port),
            false => write!(f, "{scheme}://{}:{}", self.host, self.port),
        }
    }
}

/// Host and port of `h`, `h:1`, `[::1]`, `[::1]:1`.
fn split_port(place: &str) -> Result<(&str, Option<&str>), String> {
    let Some(bracketed) = place.strip_prefix('[') else {
        return match place.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                Err("an IPv6 address stands in brackets: mqtt://[::1]:1883".into())
            }
            Some((host, port)) => Ok((host, Some(port))),
            None => Ok((place, None)),
        };
    };
    let (host, after) = bracketed.split_once(']').ok_or("the closing `]` is missing")?;
    if host.parse::<Ipv6Addr>().is_err() {
        return Err(format!("{host:?} is no IPv6 address"));
    }
    match (after.strip_prefix(':'), after) {
        (None, "") => Ok((host, None)),
        (None, _) => Err(format!("a port is written as `:1883`, not as {after:?}")),
        (port, _) => Ok((host, port)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_parsed() {
        for (url, host, port, tls) in [
            ("mqtt://h", "h", 1883, false),
            ("mqtts://h.example.org/", "h.example.org", 8883, true),
            ("mqtt://h:1", "h", 1, false),
            ("mqtt://127.0.0.1:65535", "127.0.0.1", 65535, false),
            ("mqtts://[::1]", "::1", 8883, true),
            ("mqtt://[fe80::1]:99", "fe80::1", 99, false),
        ] {
            let broker = BrokerUrl { host: host.into(), port, tls };
            assert_eq!(BrokerUrl::parse(url), Ok(broker.clone()), "{url}");
            assert_eq!(BrokerUrl::parse(&broker.to_string()), Ok(broker), "{url}");
        }
        for (url, said) in [
            ("h", "must begin with mqtt:// or mqtts://"),
            ("tcp://h", "must begin with"),
            ("mqtt://u:p@h", "a user name or password does not belong here"),
            ("mqtt://", "is no name"),
            ("mqtt://h h", "is no name"),
            ("mqtt://h:0", "from 1 to 65535"),
            ("mqtt://h:65536", "from 1 to 65535"),
            ("mqtt://h:", "from 1 to 65535"),
            ("mqtt://::1:1883", "in brackets"),
            ("mqtt://[::1", "`]` is missing"),
            ("mqtt://[h]", "no IPv6 address"),
            ("mqtt://[::1]1883", "is written as"),
            ("mqtt://h/topic", "nothing may follow"),
        ] {
            let error = BrokerUrl::parse(url).expect_err(url);
            assert!(error.contains(said), "{url}: {error}");
        }
        let loopback = |url| BrokerUrl::parse(url).expect("sound").is_loopback();
        assert!(["mqtt://localhost", "mqtt://127.9.9.9", "mqtt://[::1]"].into_iter().all(loopback));
        assert!(!["mqtt://localhost.evil", "mqtt://10.0.0.1"].into_iter().any(loopback));
    }
}
