//! The Prometheus listener.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use app::shutdown::Shutdown;

/// Maximum time for a scraper to send its request.
const HEAD: Duration = Duration::from_secs(5);
/// Maximum total time of a scrape.
const LONGEST: Duration = Duration::from_secs(30);
/// Maximum number of concurrent scrapers. Further connections are closed.
const SCRAPERS: usize = 16;
/// Interval at which durations are moved into their buckets. Until then, each one takes memory.
const UPKEEP: Duration = Duration::from_secs(2);

/// Metrics that can be scraped.
pub trait Scrape: Send + Sync + 'static {
    /// Returns the metrics of now in Prometheus' text format.
    fn text(&self) -> String;

    /// Releases memory that recorded durations take. Called every few seconds.
    fn run_upkeep(&self);
}

/// Serves the metrics in Prometheus format under `/metrics`, until `shutdown` is closing.
pub async fn serve(listener: TcpListener, metrics: Arc<impl Scrape>, shutdown: Arc<Shutdown>) {
    let places = Arc::new(Semaphore::new(SCRAPERS));
    let mut upkeep = tokio::time::interval(UPKEEP);
    loop {
        let accepted = tokio::select! {
            () = shutdown.closing() => return,
            _ = upkeep.tick() => {
                metrics.run_upkeep();
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            // Most likely no file descriptor is free, and nothing signals when one is.
            tokio::select! {
                () = shutdown.closing() => return,
                _ = upkeep.tick() => metrics.run_upkeep(),
            }
            continue;
        };
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        let metrics = metrics.clone();
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .keep_alive(false)
            .serve_connection(
                TokioIo::new(stream),
                service_fn(move |request| {
                    let answer = answer(&request, &*metrics);
                    async move { Ok::<_, std::convert::Infallible>(answer) }
                }),
            );
        let shutdown = shutdown.clone();
        tokio::spawn(async move {
            let _place = place;
            tokio::select! {
                // A scraper that disconnects or is slow is not an error of this service.
                _ = tokio::time::timeout(LONGEST, connection) => {}
                () = shutdown.closing() => {}
            }
        });
    }
}

fn answer<B>(request: &Request<B>, metrics: &impl Scrape) -> Response<Full<Bytes>> {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let (status, body) = match request.uri().path() {
        "/metrics" if is_read => (StatusCode::OK, metrics.text()),
        _ => (StatusCode::NOT_FOUND, "GET /metrics\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let plain = header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}
