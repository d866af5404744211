import jakarta.servlet.Servlet;
import java.nio.file.Files;
import java.util.concurrent.CountDownLatch;
import org.apache.catalina.startup.Tomcat;

/** What both servers need of the world. */
final class Web {
  private Web() {}

  /** Serves at /mcp, where HOST and PORT say. */
  static void serve(Servlet servlet) throws Exception {
    var tomcat = new Tomcat();
    tomcat.setBaseDir(Files.createTempDirectory("sdks").toString());
    tomcat.setPort(Integer.parseInt(System.getenv("PORT")));
    tomcat.getConnector().setProperty("address", System.getenv("HOST"));
    var context = tomcat.addContext("", null);
    Tomcat.addServlet(context, "mcp", servlet).setAsyncSupported(true);
    context.addServletMappingDecoded("/mcp", "mcp");
    tomcat.start();
    new CountDownLatch(1).await();
  }

  static void pause(long milliseconds) {
    try {
      Thread.sleep(milliseconds);
    } catch (InterruptedException interrupted) {
      Thread.currentThread().interrupt();
    }
  }
}
