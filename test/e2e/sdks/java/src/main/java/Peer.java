import java.util.List;
import java.util.Map;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.function.BooleanSupplier;

/** A client of one era, and what its server says by itself. */
abstract class Peer {
  static final String NOTE = "note://shared";

  final List<String> logs = new CopyOnWriteArrayList<>();
  final List<String> progress = new CopyOnWriteArrayList<>();
  final List<String> updates = new CopyOnWriteArrayList<>();

  /** Gives the version that is spoken. */
  abstract String connect();

  abstract List<String> tools();

  abstract String call(String name, Map<String, Object> arguments);

  abstract String work() throws Exception;

  abstract String read();

  abstract String subscribe() throws Exception;

  abstract String prompt();

  abstract void close();

  /** Waits for what comes by itself. */
  static void until(BooleanSupplier holds, long milliseconds) throws Exception {
    var end = System.nanoTime() + milliseconds * 1_000_000;
    while (!holds.getAsBoolean() && System.nanoTime() < end) Thread.sleep(20);
  }

  @SuppressWarnings("unchecked")
  static List<String> commandOf(Map<String, Object> job) {
    return (List<String>) job.get("command");
  }
}
