//! The tasks that work on requests. One that has finished takes the next
//! request: a task and its timer are some kilobytes in three allocations, and with
//! ten thousand in flight none of that is in any cache.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

/// One task, seen from outside.
pub(crate) struct Worker<J> {
    /// Its number among all.
    index: usize,
    state: Mutex<State<J>>,
}

struct State<J> {
    job: Option<J>,
    waker: Option<Waker>,
    /// No job will come.
    dismissed: bool,
}

/// All of them. Never more than were once at work together. When this is dropped,
/// those that are idle end, and the others when they have done their work.
pub(crate) struct Workers<J>(Mutex<All<J>>);

struct All<J> {
    all: Vec<Arc<Worker<J>>>,
    /// Who has nothing to do. The latest is asked first: its memory is the likeliest to
    /// be in a cache.
    idle: Vec<usize>,
}

impl<J> Default for Workers<J> {
    fn default() -> Self {
        Self(Mutex::new(All { all: Vec::new(), idle: Vec::new() }))
    }
}

impl<J> Workers<J> {
    /// Gives `job` to an idle one. Where there is none, to a new one, for which the
    /// caller has to start a task.
    pub(crate) fn give(&self, job: J) -> Option<Arc<Worker<J>>> {
        let mut workers = lock(&self.0);
        let idle = workers.idle.pop();
        if let Some(worker) = idle.and_then(|index| workers.all.get(index)) {
            worker.take(job);
            return None;
        }
        let state = State { job: Some(job), waker: None, dismissed: false };
        let worker = Arc::new(Worker { index: workers.all.len(), state: Mutex::new(state) });
        workers.all.push(Arc::clone(&worker));
        Some(worker)
    }

    /// This one has nothing to do.
    pub(crate) fn is_idle(&self, worker: &Worker<J>) {
        lock(&self.0).idle.push(worker.index);
    }

    /// Has every task look at its work again.
    pub(crate) fn wake(&self) {
        let wakers: Vec<Waker> = {
            let workers = lock(&self.0);
            workers.all.iter().filter_map(|worker| lock(&worker.state).waker.clone()).collect()
        };
        wakers.iter().for_each(Waker::wake_by_ref);
    }
}

impl<J> Drop for Workers<J> {
    fn drop(&mut self) {
        let workers = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        for worker in &workers.all {
            let mut state = lock(&worker.state);
            state.dismissed = true;
            let waker = state.waker.take();
            drop(state);
            waker.iter().for_each(Waker::wake_by_ref);
        }
    }
}

impl<J> Worker<J> {
    fn take(&self, job: J) {
        let mut state = lock(&self.state);
        state.job = Some(job);
        if let Some(waker) = &state.waker {
            waker.wake_by_ref();
        }
    }

    /// The next job; `None` when there will be none. From the first call on,
    /// [`Workers::wake`] reaches the task that calls this.
    pub(crate) async fn next(&self) -> Option<J> {
        poll_fn(|cx| {
            let mut state = lock(&self.state);
            if !state.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                state.waker = Some(cx.waker().clone());
            }
            match state.job.take() {
                Some(job) => Poll::Ready(Some(job)),
                None if state.dismissed => Poll::Ready(None),
                None => Poll::Pending,
            }
        })
        .await
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is in it is whole after every operation.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::mpsc;

    use super::*;

    /// A worker's task, which says what it was given.
    async fn work(
        worker: Arc<Worker<u32>>,
        workers: std::sync::Weak<Workers<u32>>,
        said: mpsc::UnboundedSender<u32>,
    ) {
        while let Some(job) = worker.next().await {
            if let Some(workers) = workers.upgrade() {
                workers.is_idle(&worker);
            }
            let _ = said.send(job);
        }
    }

    #[tokio::test]
    async fn an_idle_one_gets_the_next_job_and_all_end_with_the_engine() {
        let workers = Arc::new(Workers::<u32>::default());
        let (says, mut said) = mpsc::unbounded_channel();
        let first = workers.give(1).unwrap();
        let second = workers.give(2).unwrap();
        for worker in [first, second] {
            tokio::spawn(work(worker, Arc::downgrade(&workers), says.clone()));
        }
        drop(says);
        let mut got = [said.recv().await.unwrap(), said.recv().await.unwrap()];
        got.sort_unstable();
        assert_eq!(got, [1, 2]);
        for job in 3..100 {
            assert!(workers.give(job).is_none(), "two are idle");
            assert_eq!(said.recv().await, Some(job));
        }
        drop(workers);
        assert_eq!(said.recv().await, None, "both tasks have ended");
    }

    #[tokio::test]
    async fn a_job_that_was_given_is_done_before_the_end() {
        let workers = Workers::<u32>::default();
        let worker = workers.give(7).unwrap();
        drop(workers);
        assert_eq!(worker.next().await, Some(7));
        assert_eq!(worker.next().await, None);
    }

    #[tokio::test]
    async fn waking_reaches_one_that_is_at_work() {
        let workers = Arc::new(Workers::<u32>::default());
        let worker = workers.give(1).unwrap();
        let polls = Arc::new(AtomicUsize::new(0));
        let (seen, count) = (Arc::clone(&polls), Arc::clone(&polls));
        let task = tokio::spawn(async move {
            assert_eq!(worker.next().await, Some(1));
            poll_fn(|_| match seen.fetch_add(1, Ordering::AcqRel) {
                0 => Poll::Pending,
                _ => Poll::Ready(()),
            })
            .await;
        });
        while count.load(Ordering::Acquire) == 0 {
            tokio::task::yield_now().await;
        }
        workers.wake();
        task.await.unwrap();
    }
}
