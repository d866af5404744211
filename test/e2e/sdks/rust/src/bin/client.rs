//! The client of the matrix on the Rust SDK, which speaks both eras.
#![allow(deprecated)]

use std::{
    error::Error,
    future::Future,
    io::Read,
    process::Stdio,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rmcp::{
    ClientHandler, ClientLifecycleMode, ClientServiceExt, ErrorData, RoleClient,
    model::*,
    service::{NotificationContext, RequestContext, RunningService},
    transport::{
        StreamableHttpClientTransport, TokioChildProcess,
        streamable_http_client::StreamableHttpClientTransportConfig,
    },
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{process::Command, time::timeout};

const NOTE: &str = "note://shared";

#[derive(Deserialize)]
struct Job {
    name: String,
    era: String,
    url: Option<String>,
    #[serde(default)]
    command: Vec<String>,
}

/// What a server says by itself.
#[derive(Clone, Default)]
struct Heard {
    logs: Arc<Mutex<Vec<String>>>,
    progress: Arc<Mutex<Vec<String>>>,
    updates: Arc<Mutex<Vec<String>>>,
}

fn joined(list: &Mutex<Vec<String>>) -> String {
    list.lock().unwrap().join(",")
}

impl ClientHandler for Heard {
    fn get_info(&self) -> ClientConfig {
        ClientConfig::new(
            ClientCapabilities::builder().enable_elicitation().build(),
            Implementation::new("rust", "1"),
        )
    }

    async fn create_elicitation(
        &self,
        _: ElicitRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        Ok(ElicitResult::new(ElicitationAction::Accept).with_content(json!({ "name": "Ada" })))
    }

    async fn on_logging_message(
        &self,
        message: LoggingMessageNotificationParam,
        _: NotificationContext<RoleClient>,
    ) {
        self.logs
            .lock()
            .unwrap()
            .push(message.data.as_str().unwrap_or_default().into());
    }

    async fn on_progress(
        &self,
        progress: ProgressNotificationParam,
        _: NotificationContext<RoleClient>,
    ) {
        // The SDK handles notifications side by side, in any order.
        let mut all = self.progress.lock().unwrap();
        all.push(progress.progress.to_string());
        all.sort();
    }

    async fn on_resource_updated(
        &self,
        update: ResourceUpdatedNotificationParam,
        _: NotificationContext<RoleClient>,
    ) {
        self.updates.lock().unwrap().push(update.uri.to_string());
    }
}

type Outcome<T = String> = Result<T, Box<dyn Error>>;
type Client = RunningService<RoleClient, Heard>;

async fn step<T>(
    job: &Job,
    name: &str,
    seconds: u64,
    work: impl Future<Output = Outcome<(String, T)>>,
) -> Option<T> {
    let outcome = timeout(Duration::from_secs(seconds), work).await;
    let (said, kept) = match outcome {
        Ok(Ok((saw, kept))) => (json!({ "saw": saw }), Some(kept)),
        Ok(Err(error)) => (json!({ "failed": error.to_string() }), None),
        Err(_) => (json!({ "failed": "no answer in time" }), None),
    };
    let mut line = json!({ "job": job.name, "step": name });
    line.as_object_mut()
        .unwrap()
        .extend(said.as_object().unwrap().clone());
    println!("{line}");
    kept
}

async fn until(holds: impl Fn() -> bool, longest: Duration) {
    let start = Instant::now();
    while !holds() && start.elapsed() < longest {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn connect(job: &Job, heard: Heard) -> Outcome<(String, Client)> {
    let mode = match job.era.as_str() {
        "modern" => ClientLifecycleMode::Discover {
            preferred_versions: vec![ProtocolVersion::V_2026_07_28],
        },
        _ => ClientLifecycleMode::Initialize,
    };
    let client = match &job.url {
        Some(url) => {
            let config = StreamableHttpClientTransportConfig::with_uri(url.clone());
            let transport = StreamableHttpClientTransport::from_config(config);
            heard.serve_with_lifecycle(transport, mode).await?
        }
        None => {
            let mut command = Command::new(&job.command[0]);
            command.args(&job.command[1..]);
            let (transport, _) = TokioChildProcess::builder(command)
                .stderr(Stdio::null())
                .spawn()?;
            heard.serve_with_lifecycle(transport, mode).await?
        }
    };
    let version = client
        .peer()
        .peer_info()
        .ok_or("no server")?
        .protocol_version
        .to_string();
    Ok((version, client))
}

fn text_of(content: &impl serde::Serialize) -> String {
    let parts = json!(content);
    let text = |part: &Value| part["text"].as_str().unwrap_or_default().to_owned();
    match &parts {
        Value::Array(all) => all.iter().map(text).collect(),
        one => text(one),
    }
}

async fn call(client: &Client, name: &'static str, arguments: Value, loud: bool) -> Outcome {
    let mut params = CallToolRequestParams::new(name);
    params.arguments = arguments.as_object().cloned();
    if loud {
        let mut meta = RequestMetaObject::new();
        meta.set_log_level(LoggingLevel::Info);
        params.meta = Some(meta);
    }
    Ok(text_of(&client.call_tool(params).await?.content))
}

async fn work(client: &Client, heard: &Heard, modern: bool) -> Outcome {
    let info = client.peer().peer_info().ok_or("no server")?;
    if !modern && info.capabilities.logging.is_some() {
        client
            .set_level(SetLevelRequestParams::new(LoggingLevel::Info))
            .await?;
    }
    let said = call(client, "work", Value::Null, modern).await?;
    let all_there = || !joined(&heard.logs).is_empty() && joined(&heard.progress).contains(',');
    until(all_there, Duration::from_secs(1)).await;
    Ok(said)
}

async fn subscribe(client: &Client, heard: &Heard, modern: bool) -> Outcome {
    if !modern {
        let request = serde_json::from_value(json!({ "uri": NOTE }))?;
        client.subscribe(request).await?;
        call(client, "change", Value::Null, false).await?;
        until(
            || !joined(&heard.updates).is_empty(),
            Duration::from_secs(2),
        )
        .await;
        return Ok(joined(&heard.updates));
    }
    let filter = serde_json::from_value(json!({ "resourceSubscriptions": [NOTE] }))?;
    let mut stream = client.listen(filter).await?;
    call(client, "change", Value::Null, false).await?;
    let heard = timeout(Duration::from_secs(2), stream.next()).await??;
    let uri = json!(heard)["params"]["uri"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    stream.cancel().await?;
    Ok(uri)
}

async fn run(job: &Job) {
    let heard = Heard::default();
    let modern = job.era == "modern";
    let Some(client) = step(job, "connect", 20, connect(job, heard.clone())).await else {
        return;
    };
    let saw = |saw: Outcome| saw.map(|saw| (saw, ()));
    let uri_params = json!({ "uri": NOTE });
    let _ = step(job, "list", 5, async {
        let tools = client.list_all_tools().await?;
        let mut names: Vec<_> = tools.iter().map(|tool| tool.name.to_string()).collect();
        names.sort();
        Ok((names.join(","), ()))
    })
    .await;
    let numbers = json!({ "a": 2, "b": 3 });
    let _ = step(job, "call", 5, async {
        saw(call(&client, "add", numbers, false).await)
    })
    .await;
    let _ = step(job, "work", 8, async {
        saw(work(&client, &heard, modern).await)
    })
    .await;
    let _ = step(job, "progress", 1, async {
        saw(Ok(joined(&heard.progress)))
    })
    .await;
    let _ = step(job, "log", 1, async { saw(Ok(joined(&heard.logs))) }).await;
    let asked = async { saw(call(&client, "ask", Value::Null, false).await) };
    let _ = step(job, "ask", 8, asked).await;
    let _ = step(job, "read", 5, async {
        let read = client
            .read_resource(serde_json::from_value(uri_params)?)
            .await?;
        saw(Ok(text_of(&read.contents)))
    })
    .await;
    let subscribed = async { saw(subscribe(&client, &heard, modern).await) };
    let _ = step(job, "subscribe", 8, subscribed).await;
    let _ = step(job, "prompt", 5, async {
        let request = json!({ "name": "greet", "arguments": { "name": "Ada" } });
        let prompt = client.get_prompt(serde_json::from_value(request)?).await?;
        saw(Ok(prompt
            .messages
            .iter()
            .map(|message| text_of(&message.content))
            .collect()))
    })
    .await;
    let _ = step(job, "close", 8, async {
        client.cancel().await?;
        saw(Ok("closed".into()))
    })
    .await;
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut input = String::new();
    std::io::stdin().read_to_string(&mut input)?;
    for job in serde_json::from_str::<Vec<Job>>(&input)? {
        run(&job).await;
    }
    Ok(())
}
