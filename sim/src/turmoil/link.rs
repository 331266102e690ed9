//! The bus between hosts: envelopes over turmoil's TCP, by the production codec.
//!
//! One stream from each host to each other it speaks to, dialled by the speaker;
//! the listener answers each sign of life with one. turmoil's TCP never sends a
//! lost segment again, so a stream that a partition has touched is dead for ever
//! without an error: where no sign of life comes back the stream is dropped and
//! dialled anew. Whatever was under way is lost, which the protocol allows.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use phasegate_core::ServiceId;
use phasegate_core::message::Envelope;
use phasegate_runtime::bus::codec::{Decoder, Frame, encode, encode_beat};
use phasegate_runtime::bus::{Bus, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use turmoil::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use turmoil::net::{TcpListener, TcpStream};

use super::scenario::Place;

/// The port of every host's bus.
const PORT: u16 = 7000;
/// Envelopes that may wait for a stream; further ones are dropped.
const QUEUE: usize = 256;
/// Time between two signs of life.
const BEAT: Duration = Duration::from_millis(250);
/// A stream without a sign of life for so long is dead.
const DEAD: Duration = Duration::from_secs(1);
/// The pause before a dead stream is dialled again.
const REDIAL: Duration = Duration::from_millis(100);

/// Which host a service is on.
pub(super) type Routes = BTreeMap<ServiceId, Place>;

/// One host's way to all others.
pub(super) struct Link {
    here: Place,
    routes: Arc<Routes>,
    local: Bus,
    peers: Mutex<BTreeMap<Place, mpsc::Sender<Envelope>>>,
    dropped: AtomicU64,
}

impl Link {
    /// Opens the host's port and begins to listen. `local` carries what is for
    /// services on this host.
    ///
    /// # Errors
    /// Those of binding the port.
    pub(super) async fn open(
        here: Place,
        routes: Arc<Routes>,
        local: Bus,
    ) -> io::Result<Arc<Self>> {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await?;
        let bus = local.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(listen(stream, bus.clone()));
            }
        });
        let (peers, dropped) = (Mutex::default(), AtomicU64::new(0));
        Ok(Arc::new(Self { here, routes, local, peers, dropped }))
    }
}

impl Transport for Link {
    fn send(&self, envelope: Envelope) {
        let Some(&place) = self.routes.get(&envelope.to) else {
            self.dropped.fetch_add(1, Relaxed);
            return;
        };
        if place == self.here {
            return self.local.send(envelope);
        }
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let peer = peers.entry(place).or_insert_with(|| {
            let (sender, queue) = mpsc::channel(QUEUE);
            tokio::spawn(speak(place, queue));
            sender
        });
        if peer.try_send(envelope).is_err() {
            self.dropped.fetch_add(1, Relaxed);
        }
    }
}

/// Takes what is said to `peer` there, on one stream after the other.
async fn speak(peer: Place, mut queue: mpsc::Receiver<Envelope>) {
    let host = peer.to_string();
    loop {
        // A connection that is held up may never come about.
        if let Ok(Ok(stream)) = timeout(DEAD, TcpStream::connect((host.as_str(), PORT))).await {
            let (answers, out) = stream.into_split();
            tokio::select! {
                biased;
                () = alive(answers) => {}
                ended = say(out, &mut queue) => if ended == Said::All { return },
            }
        }
        if queue.is_closed() && queue.is_empty() {
            return;
        }
        sleep(REDIAL).await;
    }
}

/// Ends when the peer has given no sign of life for too long.
async fn alive(mut answers: OwnedReadHalf) {
    let mut bytes = [0; 64];
    while let Ok(Ok(1..)) = timeout(DEAD, answers.read(&mut bytes)).await {}
}

#[derive(PartialEq, Eq)]
enum Said {
    All,
    Broken,
}

async fn say(mut out: OwnedWriteHalf, queue: &mut mpsc::Receiver<Envelope>) -> Said {
    let mut beat = interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut frame = Vec::new();
    loop {
        frame.clear();
        tokio::select! {
            biased;
            _ = beat.tick() => encode_beat(&mut frame),
            envelope = queue.recv() => match envelope {
                None => return Said::All,
                // One that is too long is lost, as a bus may lose any.
                Some(envelope) => if encode(&envelope, &mut frame).is_err() { continue },
            },
        }
        if out.write_all(&frame).await.is_err() {
            return Said::Broken;
        }
    }
}

/// Takes what a peer says on one stream, until that is dead.
async fn listen(stream: TcpStream, local: Bus) {
    let (mut input, mut answers) = stream.into_split();
    let (mut decoder, mut bytes, mut beat) = (Decoder::new(), vec![0; 8192], Vec::new());
    encode_beat(&mut beat);
    while let Ok(Ok(read @ 1..)) = timeout(DEAD * 2, input.read(&mut bytes)).await {
        decoder.push(bytes.get(..read).unwrap_or_default());
        loop {
            match decoder.frame() {
                Ok(None) => break,
                Ok(Some(Frame::Envelope(envelope))) => local.send(*envelope),
                Ok(Some(Frame::Beat)) => {
                    if !matches!(timeout(DEAD, answers.write_all(&beat)).await, Ok(Ok(()))) {
                        return;
                    }
                }
                Err(error) if error.is_fatal() => return,
                Err(error) => tracing::error!(%error, "on the bus"),
            }
        }
    }
}
