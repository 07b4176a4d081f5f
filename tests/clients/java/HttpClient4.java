import org.apache.http.HttpEntityEnclosingRequest;
import org.apache.http.client.methods.CloseableHttpResponse;
import org.apache.http.client.methods.HttpUriRequest;
import org.apache.http.client.methods.RequestBuilder;
import org.apache.http.impl.client.CloseableHttpClient;
import org.apache.http.impl.client.HttpClients;
import org.apache.http.util.EntityUtils;

/** Apache HttpClient 4: the forms of its builder name ISO-8859-1 as their charset, where it is left to choose. */
class HttpClient4 {
    public static void main(String[] arguments) throws Exception {
        HttpUriRequest request = RequestBuilder.post(System.getenv("ISSUER") + "/api/v1/token")
                .addParameter("grant_type", "client_credentials")
                .addParameter("client_id", System.getenv("CLIENT_ID"))
                .addParameter("client_secret", System.getenv("CLIENT_SECRET"))
                .build();
        String type = ((HttpEntityEnclosingRequest) request).getEntity().getContentType().getValue();
        if (!type.contains("charset=ISO-8859-1")) {
            throw new AssertionError("this version sends " + type);
        }
        try (CloseableHttpClient client = HttpClients.createDefault();
                CloseableHttpResponse response = client.execute(request)) {
            String body = EntityUtils.toString(response.getEntity());
            if (response.getStatusLine().getStatusCode() != 200 || !body.contains("\"access_token\":")) {
                throw new AssertionError(response.getStatusLine() + " " + body);
            }
        }
    }
}
