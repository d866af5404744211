import io.modelcontextprotocol.json.McpJsonDefaults;
import io.modelcontextprotocol.json.McpJsonMapper;
import io.modelcontextprotocol.json.TypeRef;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;

/** The client of the matrix on the Java SDK, which has a side for each era. */
public final class Client {
  private static final McpJsonMapper JSON = McpJsonDefaults.getMapper();
  private static final ExecutorService THREADS =
      Executors.newCachedThreadPool(
          work -> {
            var thread = new Thread(work);
            thread.setDaemon(true);
            return thread;
          });

  private static boolean step(Object job, String name, int seconds, Callable<String> work)
      throws Exception {
    var said = new TreeMap<String, Object>(Map.of("job", job, "step", name));
    var done = THREADS.submit(work);
    try {
      said.put("saw", done.get(seconds, TimeUnit.SECONDS));
    } catch (Exception failure) {
      var cause = failure.getCause() == null ? failure : failure.getCause();
      said.put("failed", String.valueOf(cause));
    }
    System.out.println(JSON.writeValueAsString(said));
    return said.containsKey("saw");
  }

  private static void run(Map<String, Object> job) throws Exception {
    var peer = job.get("era").equals("modern") ? new ModernPeer(job) : new LegacyPeer(job);
    var name = job.get("name");
    if (step(name, "connect", 20, peer::connect)) {
      step(name, "list", 5, () -> peer.tools().stream().sorted().collect(Collectors.joining(",")));
      step(name, "call", 5, () -> peer.call("add", Map.of("a", 2, "b", 3)));
      step(name, "work", 8, peer::work);
      // The SDK handles notifications on several threads, so their order is not the server's.
      step(name, "progress", 1, () -> String.join(",", peer.progress.stream().sorted().toList()));
      step(name, "log", 1, () -> String.join(",", peer.logs));
      step(name, "ask", 8, () -> peer.call("ask", Map.of()));
      step(name, "read", 5, peer::read);
      step(name, "subscribe", 8, peer::subscribe);
      step(name, "prompt", 5, peer::prompt);
    }
    step(
        name,
        "close",
        8,
        () -> {
          peer.close();
          return "closed";
        });
  }

  public static void main(String[] words) throws Exception {
    var input = new String(System.in.readAllBytes(), StandardCharsets.UTF_8);
    for (var job : JSON.readValue(input, new TypeRef<List<Map<String, Object>>>() {})) run(job);
    System.exit(0);
  }
}
