//! Where codes are drawn: on threads of their own, so that no request waits behind one, a few at a time, with a bound on
//! how many wait.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::{self, Problem};
use crate::qr::QrError;

/// How many codes are drawn at the same time. Each takes a fraction of a millisecond, or about one with a large logo: two
/// keep up with thousands a second, and leave the other processors to everything else.
const AT_ONCE: usize = 2;
/// How many may be drawn or wait for it: a tenth of a second's worth.
const MAX_WAITING: usize = 256;
/// How long a caller is asked to wait where more would have to.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The room for drawing. Clones share it.
#[derive(Clone)]
pub struct Drawing {
    at_once: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

/// The right to draw one code.
pub struct Place {
    at_once: Arc<Semaphore>,
    place: OwnedSemaphorePermit,
}

impl Drawing {
    /// Makes room for all.
    #[must_use]
    pub fn new() -> Self {
        Self { at_once: Arc::new(Semaphore::new(AT_ONCE)), waiting: Arc::new(Semaphore::new(MAX_WAITING)) }
    }

    /// Takes a place among those that wait.
    ///
    /// # Errors
    /// [`problem::UNAVAILABLE`] at once if too many wait already.
    pub(super) fn place(&self) -> Result<Place, Problem> {
        let place = Arc::clone(&self.waiting).try_acquire_owned();
        let place = place
            .map_err(|_full| Problem::from(&problem::UNAVAILABLE).retry_after(RETRY_AFTER).counted_as("drawing"))?;
        Ok(Place { at_once: Arc::clone(&self.at_once), place })
    }
}

impl Place {
    /// Draws something in its turn.
    ///
    /// # Errors
    /// [`problem::INTERNAL`] if it cannot be drawn.
    ///
    /// # Cancel safety
    /// Dropped, what is being drawn is finished in vain, and keeps its place until then.
    pub(super) async fn draw<T: Send + 'static>(
        self,
        work: impl FnOnce() -> Result<T, QrError> + Send + 'static,
    ) -> Result<T, Problem> {
        let Self { at_once, place } = self;
        let turn = at_once.acquire_owned().await.map_err(|_closed| Problem::from(&problem::INTERNAL))?;
        let drawn = tokio::task::spawn_blocking(move || {
            let drawn = work();
            drop((turn, place));
            drawn
        });
        Ok(drawn.await.map_err(|_panic| Problem::from(&problem::INTERNAL))??)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn too_many_that_wait_are_sent_away_and_those_who_gave_up_free_their_place() {
        let drawing = Drawing::new();
        let (go, stop) = mpsc::channel::<()>();
        let stop = Arc::new(std::sync::Mutex::new(stop));
        let begin = || {
            let (drawing, stop) = (drawing.clone(), Arc::clone(&stop));
            Box::pin(async move {
                let wait = move || {
                    let _ = stop.lock().unwrap().recv();
                    Ok(())
                };
                drawing.place()?.draw(wait).await
            })
        };
        let mut all: Vec<_> = (0..MAX_WAITING).map(|_| begin()).collect();
        for one in &mut all {
            assert!(one.as_mut().now_or_never().is_none());
        }
        let refused = drawing.place().err().unwrap();
        assert_eq!((refused.kind().code, refused.reason()), ("unavailable", "drawing"));
        // The last of them gives up: there is room for one again.
        all.pop();
        let mut again = begin();
        assert!(again.as_mut().now_or_never().is_none());
        drop(go);
        for one in all {
            one.await.unwrap();
        }
        again.await.unwrap();
        assert_eq!(drawing.place().unwrap().draw(|| Ok(7)).await.unwrap(), 7);
    }
}
