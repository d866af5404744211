import io.modelcontextprotocol.json.McpJsonDefaults;
import io.modelcontextprotocol.server.McpServer;
import io.modelcontextprotocol.server.McpServerFeatures.SyncPromptSpecification;
import io.modelcontextprotocol.server.McpServerFeatures.SyncResourceSpecification;
import io.modelcontextprotocol.server.McpSyncServer;
import io.modelcontextprotocol.server.McpSyncServerExchange;
import io.modelcontextprotocol.server.transport.HttpServletStreamableServerTransportProvider;
import io.modelcontextprotocol.server.transport.StdioServerTransportProvider;
import io.modelcontextprotocol.spec.McpSchema;
import io.modelcontextprotocol.spec.McpSchema.CallToolRequest;
import io.modelcontextprotocol.spec.McpSchema.CallToolResult;
import java.util.List;
import java.util.Map;
import java.util.function.BiFunction;

/** The server of the matrix on the Java SDK's legacy side: {@code Server stdio|http}. */
public final class Server {
  private static final String NOTE = "note://shared";
  private static final Map<String, Object> QUESTION =
      Map.of(
          "type", "object",
          "properties", Map.of("name", Map.of("type", "string")),
          "required", List.of("name"));

  private static McpSyncServer server;

  public static void main(String[] words) throws Exception {
    if (words[0].equals("stdio")) {
      var transport = new StdioServerTransportProvider(McpJsonDefaults.getMapper());
      server = complete(McpServer.sync(transport)).build();
    } else {
      var builder = HttpServletStreamableServerTransportProvider.builder().mcpEndpoint("/mcp");
      var transport = builder.build();
      server = complete(McpServer.sync(transport)).build();
      Web.serve(transport);
    }
  }

  private static McpServer.SyncSpecification<?> complete(McpServer.SyncSpecification<?> on) {
    var name = McpSchema.PromptArgument.builder("name").required(true).build();
    var greet = McpSchema.Prompt.builder("greet").arguments(List.of(name)).build();
    var note = McpSchema.Resource.builder(NOTE, "note").build();
    on.serverInfo("java", "1")
        .capabilities(
            McpSchema.ServerCapabilities.builder()
                .tools(false)
                .prompts(false)
                .resources(true, false)
                .logging()
                .build())
        .resources(
            new SyncResourceSpecification(
                note,
                (exchange, request) ->
                    McpSchema.ReadResourceResult.builder(
                            List.of(
                                McpSchema.TextResourceContents.builder(NOTE, "a note").build()))
                        .build()))
        .prompts(
            new SyncPromptSpecification(
                greet,
                (exchange, request) ->
                    McpSchema.GetPromptResult.builder(
                            List.of(
                                McpSchema.PromptMessage.builder(
                                        McpSchema.Role.USER,
                                        text("Greet " + request.arguments().get("name")))
                                    .build()))
                        .build()));
    tool(on, "add", Server::add);
    tool(on, "work", Server::work);
    tool(on, "ask", Server::ask);
    tool(on, "change", Server::change);
    return on;
  }

  private static void tool(
      McpServer.SyncSpecification<?> on,
      String name,
      BiFunction<McpSyncServerExchange, CallToolRequest, String> body) {
    var tool = McpSchema.Tool.builder(name, Map.<String, Object>of("type", "object")).build();
    on.toolCall(
        tool,
        (exchange, request) ->
            CallToolResult.builder().content(List.of(text(body.apply(exchange, request)))).build());
  }

  private static McpSchema.TextContent text(String value) {
    return McpSchema.TextContent.builder(value).build();
  }

  private static String add(McpSyncServerExchange exchange, CallToolRequest request) {
    var a = (Number) request.arguments().get("a");
    var b = (Number) request.arguments().get("b");
    return String.valueOf(a.intValue() + b.intValue());
  }

  private static String work(McpSyncServerExchange exchange, CallToolRequest request) {
    if (request.progressToken() != null)
      for (var step = 1; step <= 2; step += 1)
        exchange.progressNotification(
            new McpSchema.ProgressNotification(request.progressToken(), step, 2.0, null));
    exchange.loggingNotification(
        McpSchema.LoggingMessageNotification.builder(McpSchema.LoggingLevel.INFO, "working")
            .build());
    // Clients of TypeScript drop what comes in one piece with the answer.
    Web.pause(50);
    return "done";
  }

  private static String ask(McpSyncServerExchange exchange, CallToolRequest request) {
    var question = McpSchema.ElicitRequest.builder("Who are you?", QUESTION).build();
    return "Hello " + exchange.createElicitation(question).content().get("name");
  }

  private static String change(McpSyncServerExchange exchange, CallToolRequest request) {
    server.notifyResourcesUpdated(new McpSchema.ResourcesUpdatedNotification(NOTE));
    return "changed";
  }
}
