import io.modelcontextprotocol.client.McpClient;
import io.modelcontextprotocol.client.McpSyncClient;
import io.modelcontextprotocol.client.transport.HttpClientStreamableHttpTransport;
import io.modelcontextprotocol.client.transport.ServerParameters;
import io.modelcontextprotocol.client.transport.StdioClientTransport;
import io.modelcontextprotocol.json.McpJsonDefaults;
import io.modelcontextprotocol.spec.McpClientTransport;
import io.modelcontextprotocol.spec.McpSchema;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;

/** The legacy side of the Java SDK. */
final class LegacyPeer extends Peer {
  private final McpSyncClient client;

  LegacyPeer(Map<String, Object> job) {
    client =
        McpClient.sync(transport(job))
            .requestTimeout(Duration.ofSeconds(8))
            .initializationTimeout(Duration.ofSeconds(20))
            .clientInfo(McpSchema.Implementation.builder("java", "1").build())
            .capabilities(McpSchema.ClientCapabilities.builder().elicitation().build())
            .elicitation(
                question ->
                    McpSchema.ElicitResult.builder(McpSchema.ElicitResult.Action.ACCEPT)
                        .content(Map.of("name", "Ada"))
                        .build())
            .loggingConsumer(message -> logs.add(String.valueOf(message.data())))
            .progressConsumer(step -> progress.add(String.valueOf(step.progress().intValue())))
            .resourcesUpdateConsumer(
                contents -> contents.forEach(content -> updates.add(content.uri())))
            .build();
  }

  private static McpClientTransport transport(Map<String, Object> job) {
    if (job.get("url") instanceof String url) {
      var end = url.indexOf('/', "http://".length());
      return HttpClientStreamableHttpTransport.builder(url.substring(0, end))
          .endpoint(url.substring(end))
          .build();
    }
    var command = commandOf(job);
    var parameters =
        ServerParameters.builder(command.get(0)).args(command.subList(1, command.size())).build();
    return new StdioClientTransport(parameters, McpJsonDefaults.getMapper());
  }

  @Override
  String connect() {
    return client.initialize().protocolVersion();
  }

  @Override
  List<String> tools() {
    return client.listTools().tools().stream().map(McpSchema.Tool::name).toList();
  }

  @Override
  String call(String name, Map<String, Object> arguments) {
    return call(new McpSchema.CallToolRequest(name, arguments));
  }

  private String call(McpSchema.CallToolRequest request) {
    return client.callTool(request).content().stream()
        .map(content -> content instanceof McpSchema.TextContent text ? text.text() : "")
        .collect(Collectors.joining());
  }

  @Override
  String work() throws Exception {
    if (client.getServerCapabilities().logging() != null)
      client.setLoggingLevel(McpSchema.LoggingLevel.INFO);
    var said =
        call(new McpSchema.CallToolRequest("work", Map.of(), Map.of("progressToken", "work")));
    until(() -> !logs.isEmpty() && progress.size() == 2, 1000);
    return said;
  }

  @Override
  String read() {
    var contents = client.readResource(new McpSchema.ReadResourceRequest(NOTE)).contents();
    return contents.get(0) instanceof McpSchema.TextResourceContents text ? text.text() : "";
  }

  @Override
  String subscribe() throws Exception {
    client.subscribeResource(new McpSchema.SubscribeRequest(NOTE));
    call("change", Map.of());
    until(() -> !updates.isEmpty(), 2000);
    return String.join(",", updates);
  }

  @Override
  String prompt() {
    var request = new McpSchema.GetPromptRequest("greet", Map.of("name", "Ada"));
    var content = client.getPrompt(request).messages().get(0).content();
    return content instanceof McpSchema.TextContent text ? text.text() : "";
  }

  @Override
  void close() {
    client.closeGracefully();
  }
}
