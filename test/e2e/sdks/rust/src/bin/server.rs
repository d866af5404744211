//! The server of the matrix on the Rust SDK: `server stdio|http both|legacy|modern`.
#![allow(deprecated)]

use std::{
    borrow::Cow,
    env,
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use rmcp::{
    ErrorData, RoleServer, ServerHandler, ServiceExt,
    model::*,
    service::{RequestContext, SubscriptionContext},
    transport::{
        stdio,
        streamable_http_server::{
            StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager,
        },
    },
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::broadcast;

const NOTE: &str = "note://shared";
static CHANGES: LazyLock<broadcast::Sender<()>> = LazyLock::new(|| broadcast::channel(16).0);
/// Streams that do not listen yet. The SDK acknowledges them before they do.
static ACCEPTED: AtomicUsize = AtomicUsize::new(0);

#[derive(Clone)]
struct Matrix {
    versions: &'static [ProtocolVersion],
}

fn made<T: DeserializeOwned>(value: Value) -> Result<T, ErrorData> {
    serde_json::from_value(value)
        .map_err(|error| ErrorData::internal_error(error.to_string(), None))
}

fn text(value: impl Into<String>) -> Result<CallToolResponse, ErrorData> {
    Ok(CallToolResult::success(vec![ContentBlock::text(value.into())]).into())
}

fn question() -> Result<ElicitRequestParams, ErrorData> {
    Ok(ElicitRequestParams::FormElicitationParams {
        meta: None,
        message: "Who are you?".into(),
        requested_schema: made(json!({
            "type": "object",
            "properties": { "name": { "type": "string" } },
            "required": ["name"],
        }))?,
    })
}

fn failed(error: impl std::fmt::Display) -> ErrorData {
    ErrorData::internal_error(error.to_string(), None)
}

impl Matrix {
    async fn work(
        &self,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        if let Some(token) = context.meta.get_progress_token() {
            for step in [1.0, 2.0] {
                let progress = ProgressNotificationParam::new(token.clone(), step).with_total(2.0);
                context
                    .peer
                    .notify_progress(progress)
                    .await
                    .map_err(failed)?;
            }
        }
        let message = LoggingMessageNotificationParam::new(LoggingLevel::Info, json!("working"));
        context
            .peer
            .notify_logging_message(message)
            .await
            .map_err(failed)?;
        // Clients of TypeScript drop the progress that comes in one piece with the answer, and log
        // messages of legacy servers travel on another stream than the answer.
        tokio::time::sleep(Duration::from_millis(50)).await;
        text("done")
    }

    async fn ask(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let hello = |name: &Value| text(format!("Hello {}", name.as_str().unwrap_or("nobody")));
        if let Some(answer) = request
            .input_responses
            .as_ref()
            .and_then(|all| all.get("who"))
        {
            return hello(&answer["content"]["name"]);
        }
        if context.protocol_version() != Some(ProtocolVersion::V_2026_07_28) {
            let answer = context
                .peer
                .create_elicitation(question()?)
                .await
                .map_err(failed)?;
            return hello(&answer.content.unwrap_or_default()["name"]);
        }
        let mut requests = InputRequests::new();
        let asked = InputRequest::Elicitation(ElicitRequest::new(question()?));
        requests.insert("who".into(), asked);
        Ok(InputRequiredResult::new(Some(requests), None).into())
    }

    async fn change(
        &self,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        if context.protocol_version() == Some(ProtocolVersion::V_2026_07_28) {
            for _ in 0..100 {
                if ACCEPTED.load(SeqCst) == 0 {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let _ = CHANGES.send(());
        } else {
            let changed = made(json!({ "uri": NOTE }))?;
            context
                .peer
                .notify_resource_updated(changed)
                .await
                .map_err(failed)?;
        }
        text("changed")
    }
}

impl ServerHandler for Matrix {
    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        Cow::Borrowed(self.versions)
    }

    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(
            ServerCapabilities::builder()
                .enable_tools()
                .enable_prompts()
                .enable_resources()
                .enable_resources_subscribe()
                .enable_logging()
                .build(),
        )
        .with_server_info(Implementation::new("rust", "1"))
    }

    async fn set_level(
        &self,
        _: SetLevelRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let tools = ["add", "work", "ask", "change"]
            .map(|name| json!({ "name": name, "inputSchema": { "type": "object" } }));
        Ok(ListToolsResult::with_all_items(made(json!(tools))?))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        match request.name.as_ref() {
            "add" => {
                let numbers = Value::Object(request.arguments.unwrap_or_default());
                let number = |name: &str| numbers[name].as_i64().unwrap_or_default();
                text((number("a") + number("b")).to_string())
            }
            "work" => self.work(context).await,
            "ask" => self.ask(request, context).await,
            "change" => self.change(context).await,
            _ => Err(ErrorData::invalid_params("unknown tool", None)),
        }
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        Ok(ListResourcesResult::with_all_items(made(
            json!([{ "uri": NOTE, "name": "note" }]),
        )?))
    }

    async fn read_resource(
        &self,
        _: ReadResourceRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let contents = made(json!([{ "uri": NOTE, "text": "a note" }]))?;
        Ok(ReadResourceResult::new(contents).into())
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        let arguments = json!([{ "name": "name", "required": true }]);
        let prompts = made(json!([{ "name": "greet", "arguments": arguments }]))?;
        Ok(ListPromptsResult::with_all_items(prompts))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        let arguments = json!(request.arguments);
        let greeting = format!("Greet {}", arguments["name"].as_str().unwrap_or("nobody"));
        let content = json!({ "type": "text", "text": greeting });
        let messages = made(json!([{ "role": "user", "content": content }]))?;
        Ok(GetPromptResult::new(messages).into())
    }

    async fn subscribe(
        &self,
        _: SubscribeRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn unsubscribe(
        &self,
        _: UnsubscribeRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Ok(())
    }

    fn accepted_subscription_filter(
        &self,
        asked: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        ACCEPTED.fetch_add(1, SeqCst);
        Some(asked.supported_by(&self.get_info().capabilities))
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let mut changes = CHANGES.subscribe();
        ACCEPTED.fetch_sub(1, SeqCst);
        loop {
            tokio::select! {
                () = context.cancelled() => return Ok(()),
                change = changes.recv() => {
                    change.map_err(failed)?;
                    context.sink().notify_resource_updated(NOTE).await.map_err(failed)?;
                }
            }
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = env::args().collect();
    let versions: &[ProtocolVersion] = match words[2].as_str() {
        "legacy" => &[ProtocolVersion::V_2025_11_25],
        "modern" => &[ProtocolVersion::V_2026_07_28],
        _ => &[ProtocolVersion::V_2026_07_28, ProtocolVersion::V_2025_11_25],
    };
    let server = Matrix { versions };
    if words[1] == "stdio" {
        server.serve(stdio()).await?.waiting().await?;
        return Ok(());
    }
    let service: StreamableHttpService<Matrix, LocalSessionManager> = StreamableHttpService::new(
        move || Ok(server.clone()),
        Default::default(),
        StreamableHttpServerConfig::default(),
    );
    let address = format!("{}:{}", env::var("HOST")?, env::var("PORT")?);
    let listener = tokio::net::TcpListener::bind(address).await?;
    axum::serve(listener, axum::Router::new().nest_service("/mcp", service)).await?;
    Ok(())
}
