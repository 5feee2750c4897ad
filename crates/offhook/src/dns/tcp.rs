//! DNS over TCP: hickory-server's connections, framing and time-outs around the same answers.

use std::io;
use std::net::TcpListener as StdTcpListener;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Header, HeaderCounts, Metadata};
use hickory_proto::rr::Record;
use hickory_proto::serialize::binary::BinDecoder;
use hickory_server::net::runtime::Time;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo, Server};
use hickory_server::zone_handler::{MessageResponseBuilder, Queries};
use offhook_dns::{Outcome, Reply, Transport};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::debug;

use super::service::Service;
use super::told_to_stop;

/// A connection on which no whole request arrives, or no answer can be sent, for this long is closed.
const IDLE: Duration = Duration::from_secs(10);

/// Answers that may wait for a slow client, per connection; requests are read one at a time besides.
const QUEUE: usize = 32;

/// Serves one listener until told to stop.
///
/// # Errors
/// The listener could not be handed to the runtime, or hickory-server gave it up: it does so when a client
/// aborts a connection before it is accepted. The caller starts it again.
pub(super) async fn serve(
    service: Arc<Service>,
    listener: Arc<StdTcpListener>,
    mut shutdown: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut server = Server::new(Handler(service));
    let listener = TcpListener::from_std(listener.try_clone()?)?;
    server.register_listener(listener, IDLE, QUEUE);
    tokio::select! {
        ended = server.block_until_done() => {
            Err(io::Error::other(ended.err().map_or("ended".into(), |error| error.to_string())))
        }
        () = told_to_stop(&mut shutdown) => {
            // What remains are connections; an error on one of them is of no interest any more.
            let _ = server.shutdown_gracefully().await;
            Ok(())
        }
    }
}

struct Handler(Arc<Service>);

#[async_trait::async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut response_handle: R,
    ) -> ResponseInfo {
        let peer = request.src();
        let reply = match self.0.decide(request.as_slice(), peer, Transport::Tcp) {
            Outcome::Ignore(_) => return nothing_sent(request.metadata),
            Outcome::Reply(reply) => reply,
            Outcome::Forward(forward) => self.0.forward(forward, peer, Transport::Tcp).await,
        };
        match send(request, &reply, &mut response_handle).await {
            Ok(info) => info,
            Err(error) => {
                debug!(client = %peer, %error, "cannot send an answer");
                nothing_sent(reply.metadata)
            }
        }
    }
}

async fn send<R: ResponseHandler>(
    request: &Request,
    reply: &Reply,
    response_handle: &mut R,
) -> Result<ResponseInfo, Box<dyn std::error::Error + Send + Sync>> {
    let no_queries = Queries::read(&mut BinDecoder::new(&[]), 0)?;
    let queries = if reply.question.is_some() { &request.queries } else { &no_queries };
    let response = MessageResponseBuilder::new(queries, reply.edns.as_ref()).build(
        reply.metadata,
        &reply.answers,
        &reply.authorities,
        no_records(),
        &reply.additionals,
    );
    Ok(response_handle.send_response(response).await?)
}

/// The SOA of a negative answer is among the authorities already.
fn no_records() -> &'static [Record] {
    &[]
}

fn nothing_sent(metadata: Metadata) -> ResponseInfo {
    Header { metadata, counts: HeaderCounts::default() }.into()
}
