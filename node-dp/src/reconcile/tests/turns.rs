//! Knows whether a task waits for something that only the test can give, or has another turn to take.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Wake, Waker},
};

/// Whether a task has been woken since its last turn.
#[derive(Debug)]
pub(super) struct Turns {
    is_woken: AtomicBool,
    /// Wakes the task itself.
    waker: Mutex<Waker>,
}

impl Turns {
    /// Those of a task that has not had its first turn.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            is_woken: AtomicBool::new(true),
            waker: Mutex::new(Waker::noop().clone()),
        })
    }

    /// The task, with its turns noted.
    pub(super) async fn note<T>(self: Arc<Self>, task: impl Future<Output = T>) -> T {
        let mut task = pin!(task);
        let noting = Waker::from(Arc::clone(&self));
        poll_fn(|context| {
            self.waker.lock().unwrap().clone_from(context.waker());
            self.is_woken.store(false, Ordering::Relaxed);
            task.as_mut().poll(&mut Context::from_waker(&noting))
        })
        .await
    }

    /// Whether the task waits, or has ended.
    pub(super) fn are_over(&self) -> bool {
        !self.is_woken.load(Ordering::Relaxed)
    }
}

impl Wake for Turns {
    fn wake(self: Arc<Self>) {
        self.is_woken.store(true, Ordering::Relaxed);
        self.waker.lock().unwrap().wake_by_ref();
    }
}
