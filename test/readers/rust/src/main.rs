//! Prints the decisive values that a reader in Rust sees, one line for each message text in base64.
//! The argument names the reader: `serde_json`, or the types of the official SDK (`rmcp`).

use std::io::{BufRead, BufWriter, Write};

use base64::prelude::{Engine, BASE64_STANDARD};
use rmcp::model::{
    ClientJsonRpcMessage, ClientNotification, ClientRequest, GetMeta, JsonRpcMessage,
    NumberOrString, ProgressToken,
};
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(rename = "jsonrpc")]
    _jsonrpc: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<&'a RawValue>,
    #[serde(borrow)]
    params: Option<Params<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Params<'a> {
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    uri: Option<&'a RawValue>,
    #[serde(borrow)]
    request_id: Option<&'a RawValue>,
    #[serde(borrow, rename = "_meta")]
    meta: Option<Meta<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta<'a> {
    #[serde(borrow)]
    progress_token: Option<&'a RawValue>,
}

/// The message is not read as one.
const REFUSED: &str = "!";
/// A value that the reader does not show.
const UNSEEN: &str = "?";

fn text(value: &str) -> String {
    let units = value.encode_utf16().map(|unit| format!("{unit:04x}"));
    format!("s{}", units.collect::<String>())
}

fn shown(value: &Option<&RawValue>) -> serde_json::Result<String> {
    let Some(raw) = value.map(RawValue::get) else {
        return Ok(String::new());
    };
    Ok(match raw.as_bytes()[0] {
        b'{' | b'[' => "o".to_owned(),
        b't' | b'f' | b'n' => format!("l{raw}"),
        b'"' => text(&serde_json::from_str::<String>(raw)?),
        _ => format!("n{raw}"),
    })
}

fn values(message: Message) -> serde_json::Result<String> {
    let params = message.params.unwrap_or_default();
    let meta = params.meta.unwrap_or_default();
    let values = [
        message.id,
        message.method,
        params.name,
        params.uri,
        params.request_id,
        meta.progress_token,
    ];
    Ok(values.iter().map(shown).collect::<serde_json::Result<Vec<_>>>()?.join(","))
}

/// A struct can be read from an array as well, in the order of its members.
fn by_serde_json(text: &str) -> serde_json::Result<String> {
    if let Ok(batch) = serde_json::from_str::<Vec<Message>>(text) {
        return Ok(batch.into_iter().map(values).collect::<serde_json::Result<Vec<_>>>()?.join("|"));
    }
    values(serde_json::from_str(text)?)
}

fn id(value: &NumberOrString) -> String {
    match value {
        NumberOrString::Number(number) => format!("n{number}"),
        NumberOrString::String(string) => text(string),
    }
}

/// A token that is no token is none to the SDK.
fn token(value: Option<ProgressToken>) -> String {
    value.map_or(UNSEEN.to_owned(), |ProgressToken(token)| id(&token))
}

fn by_rmcp(line: &str) -> serde_json::Result<String> {
    let mut values = [UNSEEN; 6].map(str::to_owned);
    match serde_json::from_str::<ClientJsonRpcMessage>(line)? {
        JsonRpcMessage::Request(message) => {
            values[0] = id(&message.id);
            values[1] = text(message.request.method());
            values[5] = token(message.request.get_meta().get_progress_token());
            match &message.request {
                ClientRequest::CallToolRequest(call) => values[2] = text(&call.params.name),
                ClientRequest::GetPromptRequest(call) => values[2] = text(&call.params.name),
                ClientRequest::ReadResourceRequest(read) => values[3] = text(&read.params.uri),
                _ => {}
            }
        }
        JsonRpcMessage::Notification(message) => match &message.notification {
            ClientNotification::CancelledNotification(cancel) => {
                values[1] = text("notifications/cancelled");
                if let Some(request) = &cancel.params.request_id {
                    values[4] = id(request);
                }
            }
            ClientNotification::CustomNotification(custom) => values[1] = text(&custom.method),
            _ => {}
        },
        JsonRpcMessage::Response(message) => values[0] = id(&message.id),
        JsonRpcMessage::Error(_) => {}
    }
    Ok(values.join(","))
}

fn main() {
    let read = match std::env::args().nth(1).as_deref() {
        Some("serde_json") => by_serde_json,
        Some("rmcp") => by_rmcp,
        other => panic!("{other:?} is no reader"),
    };
    let mut out = BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        let bytes = BASE64_STANDARD.decode(line.unwrap()).unwrap();
        let seen = std::str::from_utf8(&bytes).ok().and_then(|text| read(text).ok());
        writeln!(out, "{}", seen.as_deref().unwrap_or(REFUSED)).unwrap();
    }
}
