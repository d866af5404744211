import io.modelcontextprotocol.client.transport.ServerParameters;
import io.modelcontextprotocol.modern.McpSchema;
import io.modelcontextprotocol.modern.client.McpClient;
import io.modelcontextprotocol.modern.client.McpSyncClient;
import io.modelcontextprotocol.modern.client.SubscriptionEvent;
import io.modelcontextprotocol.modern.client.transport.HttpClientMcpTransport;
import io.modelcontextprotocol.modern.client.transport.McpClientTransport;
import io.modelcontextprotocol.modern.client.transport.StdioMcpClientTransport;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;

/** The modern side of the Java SDK, which has no way to hear log messages. */
final class ModernPeer extends Peer {
  private static final String VERSION = "2026-07-28";

  private final McpClientTransport transport;
  private final McpSyncClient client;

  ModernPeer(Map<String, Object> job) {
    transport = transport(job);
    client =
        McpClient.sync(transport)
            .clientInfo(McpSchema.Implementation.builder("java", "1").build())
            .roundTimeout(Duration.ofSeconds(20))
            .formElicitation(question -> McpSchema.ElicitResult.accept(Map.of("name", "Ada")))
            .progress(step -> progress.add(String.valueOf(step.progress().intValue())))
            .build();
  }

  private static McpClientTransport transport(Map<String, Object> job) {
    if (job.get("url") instanceof String url) return HttpClientMcpTransport.builder(url).build();
    var command = commandOf(job);
    var parameters =
        ServerParameters.builder(command.get(0)).args(command.subList(1, command.size())).build();
    return StdioMcpClientTransport.builder(parameters).start();
  }

  @Override
  String connect() {
    if (client.discover().supportedVersions().contains(VERSION)) return VERSION;
    throw new IllegalStateException("The server does not speak " + VERSION);
  }

  @Override
  List<String> tools() {
    return client.listTools().list().tools().stream().map(McpSchema.Tool::name).toList();
  }

  @Override
  String call(String name, Map<String, Object> arguments) {
    return client.tool(name).arguments(arguments).call().content().stream()
        .map(content -> content instanceof McpSchema.TextContent text ? text.text() : "")
        .collect(Collectors.joining());
  }

  @Override
  String work() throws Exception {
    var said = call("work", Map.of());
    until(() -> progress.size() == 2, 1000);
    return said;
  }

  @Override
  String read() {
    var contents = client.resource(NOTE).read().contents();
    return contents.get(0) instanceof McpSchema.TextResourceContents text ? text.text() : "";
  }

  @Override
  String subscribe() throws Exception {
    var subscribed = new CountDownLatch(1);
    try (var stream =
        client
            .listen()
            .resourceUpdates(NOTE)
            .open(
                event -> {
                  if (event instanceof SubscriptionEvent.Subscribed) subscribed.countDown();
                  if (event instanceof SubscriptionEvent.ResourceUpdated update)
                    updates.add(update.uri());
                })) {
      subscribed.await(4, TimeUnit.SECONDS);
      call("change", Map.of());
      until(() -> !updates.isEmpty(), 2000);
    }
    return String.join(",", updates);
  }

  @Override
  String prompt() {
    var greeting = client.prompt("greet").arguments(Map.of("name", "Ada")).get();
    var content = greeting.messages().get(0).content();
    return content instanceof McpSchema.TextContent text ? text.text() : "";
  }

  @Override
  void close() {
    if (transport instanceof StdioMcpClientTransport process) process.close();
  }
}
