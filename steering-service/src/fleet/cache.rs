//! Keeps the last snapshot in a file, so that a restart while the control plane is away starts with a fleet.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// Least time between two writes: a busy fleet's snapshot changes with every report.
const WRITE_GAP: Duration = Duration::from_secs(10);

/// Text of a snapshot.
pub type Text = Arc<Vec<u8>>;

/// Writes what comes over `texts` to `path`, at most once in `WRITE_GAP`, and the last one when the sender goes.
pub async fn keep(path: PathBuf, mut texts: watch::Receiver<Option<Text>>, failed: impl Fn(&io::Error)) {
    while texts.changed().await.is_ok() {
        let began = Instant::now();
        let text = texts.borrow_and_update().clone();
        if let Some(text) = text {
            let path = path.clone();
            let written = tokio::task::spawn_blocking(move || write_atomically(&path, &text)).await;
            if let Ok(Err(error)) = &written {
                failed(error);
            }
        }
        tokio::select! {
            () = tokio::time::sleep(WRITE_GAP.saturating_sub(began.elapsed())) => {}
            () = closed(&texts) => {}
        }
    }
}

/// Returns when no sender is left.
async fn closed(texts: &watch::Receiver<Option<Text>>) {
    let mut texts = texts.clone();
    while texts.changed().await.is_ok() {}
}

/// Replaces the file in one step: a reader, or a crash at any moment, finds the old or the new text, whole.
fn write_atomically(path: &Path, text: &[u8]) -> io::Result<()> {
    use std::io::Write;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let mut file = std::fs::File::create(&new)?;
    file.write_all(text)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => std::fs::File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_text_is_on_disk_when_the_sender_has_gone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fleet.json");
        let (sender, receiver) = watch::channel(None);
        let task = tokio::spawn(keep(path.clone(), receiver, |e| panic!("{e}")));
        for text in ["one", "two", "three"] {
            sender.send_replace(Some(Arc::new(text.as_bytes().to_vec())));
            tokio::task::yield_now().await;
        }
        drop(sender);
        task.await.unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"three");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
