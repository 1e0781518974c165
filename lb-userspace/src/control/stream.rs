//! A bounded pipe from a blocking thread that writes a long text to the async task that sends it.
//!
//! At most [`CHUNKS`] chunks of [`CHUNK_BYTES`] are in flight, however long the text: the writer waits for the reader,
//! and a reader that goes away ends the writer.

use std::io::{self, BufWriter, Write};

use bytes::Bytes;
use tokio::sync::mpsc;

/// Size of a chunk, in bytes.
pub const CHUNK_BYTES: usize = 64 * 1024;
/// Chunks that wait for the reader.
pub const CHUNKS: usize = 4;

/// The writer's end. Use it on a blocking thread only; call `flush` at the end.
pub type ChunkWriter = BufWriter<ChunkSink>;

/// Makes a pipe.
#[must_use]
pub fn pipe() -> (ChunkWriter, mpsc::Receiver<Bytes>) {
    let (sender, receiver) = mpsc::channel(CHUNKS);
    (BufWriter::with_capacity(CHUNK_BYTES, ChunkSink { sender }), receiver)
}

/// Turns every write into one chunk; [`ChunkWriter`] gathers small ones.
#[derive(Debug)]
pub struct ChunkSink {
    sender: mpsc::Sender<Bytes>,
}

impl Write for ChunkSink {
    /// # Errors
    /// `BrokenPipe` once the reader is gone.
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let text = &text[..text.len().min(CHUNK_BYTES)];
        self.sender
            .blocking_send(Bytes::copy_from_slice(text))
            .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_long_text_arrives_whole_and_in_bounded_chunks() {
        let (mut writer, mut reader) = pipe();
        let text: Vec<u8> = (0..1_000_003_u32).map(|i| u8::try_from(i % 251).unwrap()).collect();
        let sent = text.clone();
        let producer = tokio::task::spawn_blocking(move || {
            writer.write_all(&sent[..10]).unwrap();
            writer.write_all(&sent[10..]).unwrap();
            writer.flush().unwrap();
        });
        let mut received = Vec::new();
        while let Some(chunk) = reader.recv().await {
            assert!(chunk.len() <= CHUNK_BYTES);
            assert!(reader.len() <= CHUNKS);
            received.extend_from_slice(&chunk);
        }
        producer.await.unwrap();
        assert!(received == text, "{} bytes arrived", received.len());
    }

    #[tokio::test]
    async fn a_reader_that_goes_away_ends_the_writer() {
        let (mut writer, reader) = pipe();
        drop(reader);
        let error = tokio::task::spawn_blocking(move || writer.write_all(&[0; 2 * CHUNK_BYTES]).unwrap_err());
        assert_eq!(error.await.unwrap().kind(), io::ErrorKind::BrokenPipe);
    }
}
