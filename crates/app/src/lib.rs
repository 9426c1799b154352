//! The sample workload behind `meltemi app`: answers JSON that shows the hops of a call, calls
//! upstreams, injects latency and errors, forwards trace headers.
//!
//! It reads the environment variables of the fake-service image, so manifests written for that
//! image run unchanged; [`Config`] lists them. Every instance also serves paths that tests and
//! demonstrations need:
//!
//! | path | answer |
//! |---|---|
//! | `/healthz` | 200 |
//! | `/health` | `HEALTH_CHECK_RESPONSE_CODE` |
//! | `/ready` | `READY_CHECK_RESPONSE_SUCCESS_CODE`, after a delay if one is set |
//! | `/status/CODE` | that status |
//! | `/delay/MS` | 200 after so many milliseconds |
//! | `/echo` | method, headers and body of the request, as JSON |
//! | `/echo/raw` | the request's body, streamed back as it arrives, trailers included |
//! | `/headers` | the request's headers, as JSON |
//! | `/stream/N/MS` | N chunks, so many milliseconds apart |
//! | `/trailers` | a body followed by the trailer `x-trailer` |
//! | `/flaky/N?key=K` | 503 for the first N requests of each key, then 200 |
//! | `/ws` | WebSocket handshake, then every byte received is sent back |
//!
//! Any other path, and any path named in `UPSTREAM_ROUTES`, is the service itself. HTTP/1.1 and
//! HTTP/2 by prior knowledge share the port.

mod client;
mod config;
mod duration;
mod fault;
mod forward;
mod handler;
mod proxy;
mod report;
mod server;
mod timing;
mod upstream;

pub use config::{Config, ConfigError};
pub use report::Report;
pub use server::{App, BindError, run, serve};
