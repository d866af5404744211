import io.modelcontextprotocol.json.McpJsonMapper;
import io.modelcontextprotocol.json.jackson3.JacksonMcpJsonMapper;
import io.modelcontextprotocol.spec.McpSchema;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.StringJoiner;
import tools.jackson.databind.DeserializationFeature;
import tools.jackson.databind.json.JsonMapper;

/**
 * Prints the decisive values that a reader in Java sees, one line for each message text in base64.
 * The argument names the reader: Jackson alone, or the types of the official SDK (`sdk`).
 */
public class Reader {
  private static final String[][] PATHS = {
    {"id"},
    {"method"},
    {"params", "name"},
    {"params", "uri"},
    {"params", "requestId"},
    {"params", "_meta", "progressToken"},
  };

  private static final JsonMapper EXACT =
      JsonMapper.builder()
          .enable(DeserializationFeature.USE_BIG_DECIMAL_FOR_FLOATS)
          .enable(DeserializationFeature.USE_BIG_INTEGER_FOR_INTS)
          .build();
  private static final McpJsonMapper SDK = new JacksonMcpJsonMapper(JsonMapper.builder().build());

  /** A value that the reader does not show. */
  private static final String UNSEEN = "?";

  private static String shown(Object value) {
    if (value instanceof String text) {
      StringBuilder units = new StringBuilder("s");
      for (char unit : text.toCharArray()) units.append(String.format("%04x", (int) unit));
      return units.toString();
    }
    if (value == null || value instanceof Boolean) return "l" + value;
    return value instanceof Number ? "n" + value : "o";
  }

  private static String at(Object from, String... path) {
    Object value = from;
    for (String name : path) {
      if (!(value instanceof Map<?, ?> members) || !members.containsKey(name)) return "";
      value = members.get(name);
    }
    return shown(value);
  }

  private static String byJackson(String text) {
    Object parsed = EXACT.readValue(text, Object.class);
    StringJoiner lines = new StringJoiner("|");
    for (Object message : parsed instanceof List<?> list ? list : List.of(parsed == null ? "" : parsed)) {
      StringJoiner values = new StringJoiner(",");
      for (String[] path : PATHS) values.add(at(message, path));
      lines.add(values.toString());
    }
    return lines.toString();
  }

  private static String bySdk(String text) throws Exception {
    McpSchema.JSONRPCMessage message = McpSchema.deserializeJsonRpcMessage(SDK, text);
    if (message instanceof McpSchema.JSONRPCRequest request)
      return byTypes(shown(request.id()), request.method(), request.params());
    if (message instanceof McpSchema.JSONRPCNotification told)
      return byTypes("", told.method(), told.params());
    McpSchema.JSONRPCResponse answer = (McpSchema.JSONRPCResponse) message;
    return String.join(",", answer.id() == null ? UNSEEN : shown(answer.id()), "", UNSEEN, UNSEEN, UNSEEN, UNSEEN);
  }

  private static String byTypes(String id, String method, Object params) {
    String name = at(params, "name");
    String uri = at(params, "uri");
    if ("tools/call".equals(method))
      name = orDefault(name, SDK.convertValue(params, McpSchema.CallToolRequest.class).name());
    if ("resources/read".equals(method))
      uri = orDefault(uri, SDK.convertValue(params, McpSchema.ReadResourceRequest.class).uri());
    return String.join(
        ",", id, shown(method), name, uri, at(params, "requestId"), at(params, "_meta", "progressToken"));
  }

  /** The SDK reads the empty text where there is none, which no message decides. */
  private static String orDefault(String untyped, String typed) {
    return "".equals(typed) && !untyped.startsWith("s") ? untyped : shown(typed);
  }

  private static String seen(String text, boolean bySdk) {
    try {
      return bySdk ? bySdk(text) : byJackson(text);
    } catch (Exception | StackOverflowError refused) {
      return "!";
    }
  }

  public static void main(String[] arguments) throws Exception {
    boolean bySdk = arguments[0].equals("sdk");
    var in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII));
    var out = new PrintStream(System.out, false, StandardCharsets.US_ASCII);
    for (String line = in.readLine(); line != null; line = in.readLine())
      out.print(seen(new String(Base64.getDecoder().decode(line), StandardCharsets.UTF_8), bySdk) + "\n");
    out.flush();
  }
}
