//! An OpenAI-compatible interface on the local network, as its client.

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::Value;
use std::fmt;
use tokio::net::TcpStream;

/// The most bytes of a response.
const MAX_RESPONSE_BYTES: usize = 64 << 10;
/// What of a complaint is kept, in characters.
const COMPLAINT: usize = 200;

/// Where it is.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// What tasks call it.
    pub name: String,
    /// Host and port.
    pub authority: String,
    /// The path of its base, as in `/v1`.
    pub path: String,
    /// The model that is named to it.
    pub model: Option<String>,
    /// The key that it wants.
    pub api_key: Option<String>,
}

/// Without the key.
impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({}: http://{}{})", self.name, self.authority, self.path)
    }
}

/// What it said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The text.
    pub text: String,
    /// Tokens of prompt and text, by its own count.
    pub prompt_tokens: u32,
    /// The same.
    pub completion_tokens: u32,
}

#[derive(Deserialize)]
struct Response {
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Usage,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    content: Option<String>,
}

#[derive(Deserialize, Default)]
struct Usage {
    #[serde(default)]
    prompt_tokens: u32,
    #[serde(default)]
    completion_tokens: u32,
}

impl Endpoint {
    /// Asks for a completion; `body` is that of OpenAI's chat completions. Whoever gives up drops this, and
    /// the connection with it: that is what ends the work at the other end.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub async fn ask(&self, mut body: Value) -> Result<Told, String> {
        if let Some(model) = &self.model {
            body["model"] = model.as_str().into();
        }
        let stream = TcpStream::connect(&self.authority).await.map_err(|e| e.to_string())?;
        // One small write each way.
        stream.set_nodelay(true).map_err(|e| e.to_string())?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.map_err(|e| e.to_string())?;
        let exchange = async {
            let response = sender.send_request(self.request(&body)?);
            let response = response.await.map_err(|e| e.to_string())?;
            let status = response.status();
            let bytes = Limited::new(response.into_body(), MAX_RESPONSE_BYTES).collect().await;
            let bytes = bytes.map_err(|e| e.to_string())?.to_bytes();
            read(status, &bytes)
        };
        tokio::pin!(connection);
        tokio::select! {
            told = exchange => told,
            Err(error) = &mut connection => Err(error.to_string()),
        }
    }

    fn request(&self, body: &Value) -> Result<Request<Full<Bytes>>, String> {
        let mut request = Request::post(format!("{}/chat/completions", self.path))
            .header(HOST, &self.authority)
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json");
        if let Some(key) = &self.api_key {
            request = request.header(AUTHORIZATION, format!("Bearer {key}"));
        }
        request.body(Full::from(body.to_string())).map_err(|e| e.to_string())
    }
}

fn read(status: StatusCode, bytes: &[u8]) -> Result<Told, String> {
    if status != StatusCode::OK {
        let text: String = String::from_utf8_lossy(bytes).chars().take(COMPLAINT).collect();
        return Err(format!("{status}: {}", text.trim()));
    }
    let response: Response = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    let choice = response.choices.into_iter().next().ok_or("no choice in its response")?;
    if choice.finish_reason.as_deref() == Some("length") {
        return Err("its answer was cut".to_owned());
    }
    let text = choice.message.content.ok_or("no text in its response")?;
    let Usage { prompt_tokens, completion_tokens } = response.usage;
    Ok(Told { text, prompt_tokens, completion_tokens })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_says_is_read_or_complained_about() {
        let ok = br#"{"id":"x","choices":[{"index":0,"finish_reason":"stop","message":
            {"role":"assistant","content":"yes"}}],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#;
        let told = Told { text: "yes".into(), prompt_tokens: 3, completion_tokens: 1 };
        assert_eq!(read(StatusCode::OK, ok), Ok(told));
        let cut = String::from_utf8_lossy(ok).replace("\"stop\"", "\"length\"");
        assert_eq!(read(StatusCode::OK, cut.as_bytes()), Err("its answer was cut".into()));
        for (status, body, says) in [
            (StatusCode::TOO_MANY_REQUESTS, "later\n", "429 Too Many Requests: later"),
            (StatusCode::OK, "{}", "missing field `choices`"),
            (StatusCode::OK, r#"{"choices":[]}"#, "no choice"),
            (StatusCode::OK, r#"{"choices":[{"message":{"content":null}}]}"#, "no text"),
            (StatusCode::OK, "<html>", "expected value"),
        ] {
            let problem = read(status, body.as_bytes()).expect_err(body);
            assert!(problem.contains(says), "{body}: {problem}");
        }
    }

    #[test]
    fn its_key_is_not_shown() {
        let endpoint = Endpoint {
            name: "box".into(),
            authority: "box:80".into(),
            path: "/v1".into(),
            model: None,
            api_key: Some("s3cret".into()),
        };
        assert_eq!(format!("{endpoint:?}"), "Endpoint(box: http://box:80/v1)");
    }
}
