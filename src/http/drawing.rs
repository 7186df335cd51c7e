//! The queue for drawing QR codes. Blocking threads draw them, so that they do not delay other requests. Two are drawn at a
//! time, and the queue is bounded.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::{self, Problem};
use crate::qr::QrError;

/// The number of codes that are drawn at the same time. Each takes a fraction of a millisecond, or about one with a large logo:
/// two keep up with thousands a second, and leave the other cores free.
const MAX_CONCURRENT: usize = 2;
/// The maximum number of codes that are drawn or wait: a tenth of a second of work.
const MAX_QUEUED: usize = 256;
/// The time after which a caller should try again if the queue is full.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The queue. Clones share it.
#[derive(Clone)]
pub struct DrawingQueue {
    drawing: Arc<Semaphore>,
    queued: Arc<Semaphore>,
}

/// A place in the queue: the right to draw one code.
pub(super) struct QueuePlace {
    drawing: Arc<Semaphore>,
    permit: OwnedSemaphorePermit,
}

impl Default for DrawingQueue {
    fn default() -> Self {
        Self { drawing: Arc::new(Semaphore::new(MAX_CONCURRENT)), queued: Arc::new(Semaphore::new(MAX_QUEUED)) }
    }
}

impl DrawingQueue {
    /// Takes a place in the queue.
    ///
    /// # Errors
    /// [`problem::UNAVAILABLE`], immediately, if the queue is full.
    pub(super) fn enter(&self) -> Result<QueuePlace, Problem> {
        let full = |_full| Problem::from(&problem::UNAVAILABLE).retry_after(RETRY_AFTER).with_reason("drawing");
        let permit = Arc::clone(&self.queued).try_acquire_owned().map_err(full)?;
        Ok(QueuePlace { drawing: Arc::clone(&self.drawing), permit })
    }
}

impl QueuePlace {
    /// Waits for its turn and draws.
    ///
    /// # Errors
    /// [`problem::INTERNAL`] if drawing fails.
    ///
    /// # Cancel safety
    /// If dropped while drawing, the work still finishes and keeps its place until then.
    pub(super) async fn draw<T: Send + 'static>(
        self,
        work: impl FnOnce() -> Result<T, QrError> + Send + 'static,
    ) -> Result<T, Problem> {
        let Self { drawing, permit } = self;
        let turn = drawing.acquire_owned().await.map_err(|_closed| Problem::from(&problem::INTERNAL))?;
        let drawn = tokio::task::spawn_blocking(move || {
            let drawn = work();
            drop((turn, permit));
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
    async fn a_full_queue_refuses_and_a_cancelled_caller_frees_its_place() {
        let drawing = DrawingQueue::default();
        let (go, stop) = mpsc::channel::<()>();
        let stop = Arc::new(parking_lot::Mutex::new(stop));
        let begin = || {
            let (drawing, stop) = (drawing.clone(), Arc::clone(&stop));
            Box::pin(async move {
                let wait = move || {
                    let _ = stop.lock().recv();
                    Ok(())
                };
                drawing.enter()?.draw(wait).await
            })
        };
        let mut all: Vec<_> = (0..MAX_QUEUED).map(|_| begin()).collect();
        for one in &mut all {
            assert!(one.as_mut().now_or_never().is_none());
        }
        let refused = drawing.enter().err().unwrap();
        assert_eq!((refused.problem_type().code, refused.reason()), ("unavailable", "drawing"));
        // The last one cancels, which frees a place.
        all.pop();
        let mut again = begin();
        assert!(again.as_mut().now_or_never().is_none());
        drop(go);
        for one in all {
            one.await.unwrap();
        }
        again.await.unwrap();
        assert_eq!(drawing.enter().unwrap().draw(|| Ok(7)).await.unwrap(), 7);
    }
}
