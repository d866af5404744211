import io.modelcontextprotocol.json.McpJsonDefaults;
import io.modelcontextprotocol.modern.McpSchema;
import io.modelcontextprotocol.modern.server.McpRequestContext;
import io.modelcontextprotocol.modern.server.McpServer;
import io.modelcontextprotocol.modern.server.McpSyncResponse;
import io.modelcontextprotocol.modern.server.feature.McpChangeFeed;
import io.modelcontextprotocol.modern.server.feature.McpSyncPrompt;
import io.modelcontextprotocol.modern.server.feature.McpSyncPromptRepository;
import io.modelcontextprotocol.modern.server.feature.McpSyncResource;
import io.modelcontextprotocol.modern.server.feature.McpSyncResourceRepository;
import io.modelcontextprotocol.modern.server.feature.McpSyncTool;
import io.modelcontextprotocol.modern.server.feature.McpSyncToolRepository;
import io.modelcontextprotocol.modern.server.feature.PromptsFeature;
import io.modelcontextprotocol.modern.server.feature.PromptsPage;
import io.modelcontextprotocol.modern.server.feature.ResourcesFeature;
import io.modelcontextprotocol.modern.server.feature.ResourcesPage;
import io.modelcontextprotocol.modern.server.feature.ServerChange;
import io.modelcontextprotocol.modern.server.feature.ToolsFeature;
import io.modelcontextprotocol.modern.server.feature.ToolsPage;
import io.modelcontextprotocol.modern.server.transport.HttpServletMcpTransport;
import io.modelcontextprotocol.modern.server.transport.StdioMcpTransport;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;

/** The server of the matrix on the Java SDK's modern side: {@code ModernServer stdio|http}. */
public final class ModernServer {
  private static final String NOTE = "note://shared";
  private static final McpChangeFeed CHANGES = new McpChangeFeed();
  private static final AtomicInteger LISTENERS = new AtomicInteger();
  private static final Map<String, McpSyncTool> TOOLS = new LinkedHashMap<>();

  public static void main(String[] words) throws Exception {
    tool("add", ModernServer::add);
    tool("work", ModernServer::work);
    tool("ask", ModernServer::ask);
    tool("change", ModernServer::change);
    var server =
        McpServer.builder()
            .serverInfo(McpSchema.Implementation.builder("java-modern", "1").build())
            .jsonMapper(McpJsonDefaults.getMapper())
            .feature(ToolsFeature.ofSync(new Tools()))
            .feature(ResourcesFeature.ofSync(new Resources()))
            .feature(PromptsFeature.ofSync(new Prompts()))
            .subscriptions(
                () ->
                    CHANGES
                        .changes()
                        .doOnSubscribe(begun -> LISTENERS.incrementAndGet())
                        .doFinally(how -> LISTENERS.decrementAndGet()))
            .build();
    if (words[0].equals("stdio"))
      new StdioMcpTransport(server, McpJsonDefaults.getMapper()).start().block();
    else Web.serve(HttpServletMcpTransport.builder(server).endpoint("/mcp").build());
  }

  private static void tool(String name, McpSyncTool.Handler handler) {
    var definition = McpSchema.Tool.builder(name, Map.of("type", "object")).build();
    TOOLS.put(name, McpSyncTool.of(definition, handler));
  }

  private static McpSchema.CallToolOutcome text(String value) {
    var content = McpSchema.TextContent.builder(value).build();
    return McpSchema.CallToolResult.builder().addContent(content).build();
  }

  private static McpSyncResponse<McpSchema.CallToolOutcome> add(
      McpRequestContext context, McpSchema.CallToolRequest request) {
    var a = (Number) request.arguments().get("a");
    var b = (Number) request.arguments().get("b");
    return McpSyncResponse.result(text(String.valueOf(a.intValue() + b.intValue())));
  }

  private static McpSyncResponse<McpSchema.CallToolOutcome> work(
      McpRequestContext context, McpSchema.CallToolRequest request) {
    return McpSyncResponse.streaming(
        notifier -> {
          for (var step = 1; step <= 2; step += 1) notifier.progress(step, 2.0, null);
          if (context.meta().containsKey(McpSchema.MetaKeys.LOG_LEVEL))
            notifier.notify("notifications/message", Map.of("level", "info", "data", "working"));
          // Clients of TypeScript drop what comes in one piece with the answer.
          Web.pause(50);
          return text("done");
        });
  }

  private static McpSyncResponse<McpSchema.CallToolOutcome> ask(
      McpRequestContext context, McpSchema.CallToolRequest request) {
    var responses = request.inputResponses();
    if (responses != null && responses.get("who") instanceof Map<?, ?> answer)
      return McpSyncResponse.result(text("Hello " + ((Map<?, ?>) answer.get("content")).get("name")));
    Map<String, Object> schema =
        Map.of(
            "type", "object",
            "properties", Map.of("name", Map.of("type", "string")),
            "required", List.of("name"));
    var question = McpSchema.ElicitFormRequest.builder("Who are you?", schema).build();
    return McpSyncResponse.result(
        McpSchema.InputRequiredResult.builder().elicit("who", question).build());
  }

  private static McpSyncResponse<McpSchema.CallToolOutcome> change(
      McpRequestContext context, McpSchema.CallToolRequest request) {
    // The SDK acknowledges a stream before it listens.
    for (var waits = 0; LISTENERS.get() == 0 && waits < 100; waits += 1) Web.pause(10);
    Web.pause(100);
    CHANGES.broadcast(new ServerChange.ResourceUpdated(NOTE));
    return McpSyncResponse.result(text("changed"));
  }

  private static final class Tools implements McpSyncToolRepository {
    @Override
    public ToolsPage list(McpRequestContext context, String cursor) {
      return ToolsPage.of(TOOLS.values().stream().map(McpSyncTool::definition).toList());
    }

    @Override
    public McpSyncTool find(McpRequestContext context, String name) {
      return TOOLS.get(name);
    }
  }

  private static final class Resources implements McpSyncResourceRepository {
    @Override
    public ResourcesPage list(McpRequestContext context, String cursor) {
      return ResourcesPage.of(List.of(McpSchema.Resource.builder(NOTE, "note").build()));
    }

    @Override
    public McpSyncResource find(McpRequestContext context, String uri) {
      if (!uri.equals(NOTE)) return null;
      return McpSyncResource.of(
          (from, request) -> {
            var note = McpSchema.TextResourceContents.builder(NOTE, "a note").build();
            return McpSyncResponse.result(
                McpSchema.ReadResourceResult.builder(List.of(note)).build());
          });
    }

    @Override
    public boolean supportsSubscribe() {
      return true;
    }
  }

  private static final class Prompts implements McpSyncPromptRepository {
    @Override
    public PromptsPage list(McpRequestContext context, String cursor) {
      return PromptsPage.of(List.of(find(context, "greet").definition()));
    }

    @Override
    public McpSyncPrompt find(McpRequestContext context, String name) {
      var argument = McpSchema.PromptArgument.builder("name").required(true).build();
      var greet = McpSchema.Prompt.builder("greet").arguments(List.of(argument)).build();
      if (!name.equals("greet")) return null;
      return McpSyncPrompt.of(
          greet,
          (from, request) -> {
            var content =
                McpSchema.TextContent.builder("Greet " + request.arguments().get("name")).build();
            var message =
                McpSchema.PromptMessage.builder(McpSchema.Role.USER, content).build();
            return McpSyncResponse.result(
                McpSchema.GetPromptResult.builder(List.of(message)).build());
          });
    }
  }
}
