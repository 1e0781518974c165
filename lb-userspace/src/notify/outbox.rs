//! What the channels share: a bounded queue, counters, and knowing when all is done.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::event::Event;

/// Most events that wait in one queue.
pub(super) const CAPACITY: usize = 1024;

/// What became of the events of a channel.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) sent: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) dropped: AtomicU64,
}

impl Tally {
    pub(super) fn add(counter: &AtomicU64, count: usize) {
        counter.fetch_add(count as u64, Ordering::Relaxed);
    }
}

/// Knows how much is under way over all channels.
#[derive(Debug)]
pub(super) struct Activity {
    pending: AtomicUsize,
    idle: Notify,
    hurry: watch::Sender<bool>,
}

impl Default for Activity {
    fn default() -> Self {
        Self { pending: AtomicUsize::new(0), idle: Notify::new(), hurry: watch::Sender::new(false) }
    }
}

impl Activity {
    /// Something is under way until the value is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Pending {
        self.pending.fetch_add(1, Ordering::AcqRel);
        Pending(Arc::clone(self))
    }

    /// Waits until nothing is under way; false when that takes longer than `bound`. Meanwhile nobody waits for more
    /// events to come.
    pub(super) async fn finished(&self, bound: Duration) -> bool {
        self.hurry.send_replace(true);
        let idle = async {
            loop {
                let notified = self.idle.notified();
                tokio::pin!(notified);
                // Registered before the look, so that an end between the two is not missed.
                notified.as_mut().enable();
                if self.pending.load(Ordering::Acquire) == 0 {
                    return;
                }
                notified.await;
            }
        };
        let in_time = tokio::time::timeout(bound, idle).await.is_ok();
        self.hurry.send_replace(false);
        in_time
    }

    /// Waits for `time`, or until somebody is waiting in [`Self::finished`].
    pub(super) async fn linger(&self, time: Duration) {
        let mut hurry = self.hurry.subscribe();
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            _ = hurry.wait_for(|hurry| *hurry) => {}
        }
    }
}

/// Something that is under way.
#[derive(Debug)]
pub(super) struct Pending(Arc<Activity>);

impl Drop for Pending {
    fn drop(&mut self) {
        if self.0.pending.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

/// An event on its way through a channel.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) event: Arc<Event>,
    _pending: Pending,
}

/// The queue of a channel. When it is full the oldest event goes: the newest says most about the present.
#[derive(Debug)]
pub(super) struct Outbox {
    state: Mutex<Queue>,
    ready: Notify,
    tally: Arc<Tally>,
    activity: Arc<Activity>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Item>,
    /// Dropped since the queue was last emptied by [`Outbox::take_all`].
    dropped: usize,
    closed: bool,
}

impl Outbox {
    pub(super) fn new(tally: Arc<Tally>, activity: Arc<Activity>) -> Self {
        Self { state: Mutex::default(), ready: Notify::new(), tally, activity }
    }

    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    pub(super) fn activity(&self) -> &Activity {
        &self.activity
    }

    pub(super) fn push(&self, event: Arc<Event>) {
        let item = Item { event, _pending: self.activity.begin() };
        let mut queue = lock(&self.state);
        if queue.waiting.len() >= CAPACITY {
            queue.waiting.pop_front();
            queue.dropped += 1;
            Tally::add(&self.tally.dropped, 1);
        }
        queue.waiting.push_back(item);
        drop(queue);
        self.ready.notify_one();
    }

    /// Lets the worker end when the queue is empty.
    pub(super) fn close(&self) {
        lock(&self.state).closed = true;
        self.ready.notify_one();
    }

    /// Waits for an event; false when there will be none. For one worker only.
    pub(super) async fn wait(&self) -> bool {
        loop {
            {
                let queue = lock(&self.state);
                if !queue.waiting.is_empty() {
                    return true;
                }
                if queue.closed {
                    return false;
                }
            }
            self.ready.notified().await;
        }
    }

    /// Waits for the oldest event; none when there will be no more. For one worker only.
    pub(super) async fn next(&self) -> Option<Item> {
        while self.wait().await {
            if let Some(item) = lock(&self.state).waiting.pop_front() {
                return Some(item);
            }
        }
        None
    }

    /// Everything that waits, oldest first, and how many events were dropped before it.
    pub(super) fn take_all(&self) -> (Vec<Item>, usize) {
        let mut queue = lock(&self.state);
        (queue.waiting.drain(..).collect(), std::mem::take(&mut queue.dropped))
    }
}

/// A lock that a panicking holder has not spoilt: every change made under these locks is complete in itself.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::super::event::{Change, State, tests::real_server};
    use super::*;

    fn numbered(weight: u32) -> Arc<Event> {
        let mut event = real_server(State::Up);
        if let Change::RealServer(change) = &mut event.change {
            change.weight = weight;
        }
        Arc::new(event)
    }

    fn weight(item: &Item) -> u32 {
        match &item.event.change {
            Change::RealServer(change) => change.weight,
            Change::Service(_) | Change::Vrrp(_) => unreachable!(),
        }
    }

    #[tokio::test]
    async fn a_full_queue_loses_its_oldest_events_and_counts_them() {
        let activity = Arc::new(Activity::default());
        let outbox = Outbox::new(Arc::default(), Arc::clone(&activity));
        for number in 0..CAPACITY as u32 + 10 {
            outbox.push(numbered(number));
        }
        assert_eq!(outbox.tally().dropped.load(Ordering::Relaxed), 10);
        assert_eq!(outbox.next().await.as_ref().map(weight), Some(10));
        let (rest, dropped) = outbox.take_all();
        assert_eq!((rest.len(), dropped), (CAPACITY - 1, 10));
        assert_eq!(rest.last().map(weight), Some(CAPACITY as u32 + 9));
        assert_eq!(outbox.take_all().1, 0);

        assert!(!activity.finished(Duration::from_millis(1)).await);
        drop(rest);
        assert!(activity.finished(Duration::from_secs(10)).await);
        outbox.close();
        assert!(outbox.next().await.is_none());
    }

    #[tokio::test]
    async fn lingering_ends_when_somebody_waits_for_the_end() {
        let activity = Arc::new(Activity::default());
        let pending = activity.begin();
        let other = Arc::clone(&activity);
        let lingering = tokio::spawn(async move {
            other.linger(Duration::from_secs(3600)).await;
            drop(pending);
        });
        assert!(activity.finished(Duration::from_secs(20)).await);
        lingering.await.unwrap();
    }
}
