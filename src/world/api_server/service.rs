//! The API server as what stands under a `kube::Client`.

use axum::body::Body as Answer;
use http::{Request, Response};
use kube::{Client, client::Body};
use tower::Service;

use super::ApiServer;

impl ApiServer {
    /// A client of `who`, straight to this server.
    #[must_use]
    pub fn client(&self, who: &str) -> Client {
        Client::new(self.service(who), "default")
    }

    /// What a client of `who` stands on: whoever injects faults puts itself in between, as in
    /// `Client::new(Faults(api.service(who)), "default")`.
    #[must_use]
    pub fn service(
        &self,
        who: &str,
    ) -> impl Service<Request<Body>, Response = Response<Answer>, Error = kube::Error, Future: Send>
    + Clone
    + Send
    + 'static {
        let (server, who) = (self.clone(), who.to_owned());
        tower::service_fn(move |request: Request<Body>| {
            let (server, who) = (server.clone(), who.clone());
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect_bytes().await?;
                Ok(server.handle(&who, &head, &body))
            }
        })
    }
}
