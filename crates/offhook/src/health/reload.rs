//! Another configuration for the watch: what is known of servers that stay goes with it.

use std::sync::Arc;

use offhook_dns::Zones;
use offhook_dns::health::Ranking;
use offhook_model::Site;
use tokio::sync::{mpsc, oneshot};

/// Where the watch is told of another configuration.
#[derive(Clone, Debug)]
pub(crate) struct Reloads(mpsc::Sender<Reload>);

/// Another configuration, and where it is told what is known of its servers.
#[derive(Debug)]
pub(super) struct Reload {
    pub(super) site: Arc<Site>,
    pub(super) ready: oneshot::Sender<Standing>,
}

/// What is known of the servers of a configuration. As long as there is one, the watch waits, and so that stays right.
#[derive(Debug)]
pub(crate) struct Standing {
    pub(super) ranking: Ranking,
    /// By group and host.
    pub(super) alive: Vec<Vec<bool>>,
    /// The watch goes on when this is dropped.
    pub(super) _wait: oneshot::Sender<()>,
}

impl Reloads {
    pub(super) fn new() -> (Self, mpsc::Receiver<Reload>) {
        let (sender, receiver) = mpsc::channel(1);
        (Self(sender), receiver)
    }

    /// Has the servers of `site` watched from now on. Those that were watched before at the same address, for the same
    /// group and in the same way keep their state; nothing is known of the others, who count as alive.
    pub(crate) async fn take_over(&self, site: &Arc<Site>) -> Standing {
        let (ready, standing) = oneshot::channel();
        let reload = Reload { site: Arc::clone(site), ready };
        if self.0.send(reload).await.is_ok()
            && let Ok(standing) = standing.await
        {
            return standing;
        }
        // Nobody watches: the program ends, or the watch begins anew in a moment.
        Standing { ranking: Ranking::new(site), alive: Vec::new(), _wait: oneshot::channel().0 }
    }
}

impl Standing {
    /// Puts what follows from the states into the zones of that configuration.
    pub(crate) fn apply(&self, zones: &mut Zones) {
        self.ranking.apply(zones, |group, host| is_alive(&self.alive, group, host));
    }
}

/// Whether a server is answered as one that is alive: also when it is not watched.
pub(super) fn is_alive(alive: &[Vec<bool>], group: usize, host: usize) -> bool {
    alive.get(group).and_then(|group| group.get(host)).copied().unwrap_or(true)
}
