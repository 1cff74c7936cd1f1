//! Everything that can go wrong while a title is packed, each with the place and the mend in its text.

use cdn_types::Bytes;
use std::{fmt, io, path::PathBuf};

/// Why a title was not packed. Nothing is left behind in the output folder.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// ffmpeg or ffprobe is not installed.
    #[error("{program} was not found in PATH. On Debian or Ubuntu: apt-get install ffmpeg")]
    NoFfmpeg {
        /// Which of the two.
        program: &'static str,
    },
    /// The input is not there.
    #[error("{path}: no such file")]
    NoFile {
        /// As given.
        path: PathBuf,
    },
    /// ffprobe finds no moving pictures in the input.
    #[error("{input}: not a video ({why}). Give a file that has a video track, e.g. MP4, MKV, MOV or TS")]
    NotVideo {
        /// As given.
        input: String,
        /// What ffprobe found.
        why: String,
    },
    /// There is no sound in the input.
    #[error("{input}: has no audio track. Add one, or pack it with --silent-audio for a silent track")]
    NoAudio {
        /// As given.
        input: String,
    },
    /// The container does not say how long it is.
    #[error(
        "{input}: its length is unknown. Copy it into a container that says: ffmpeg -i INPUT -c copy OUT.mkv"
    )]
    NoDuration {
        /// As given.
        input: String,
    },
    /// The input cannot be scaled to anything sensible.
    #[error("{input}: {width}×{height} is too small: the least is {least} pixels a side")]
    TooSmall {
        /// As given.
        input: String,
        /// Pixels.
        width: u32,
        /// Pixels.
        height: u32,
        /// Pixels.
        least: u32,
    },
    /// The output is there already.
    #[error("{path}: exists already. Give --overwrite to replace it, or another --id")]
    Exists {
        /// The title's folder.
        path: PathBuf,
    },
    /// Too little space, found before or while writing.
    #[error("{path}: no room: {detail}. Free some space, or give --out on a larger disk")]
    NoRoom {
        /// The output folder.
        path: PathBuf,
        /// How much is wanted and there.
        detail: String,
    },
    /// ffmpeg ended with an error.
    #[error("{input}: ffmpeg failed ({status}):\n{stderr}")]
    Ffmpeg {
        /// As given.
        input: String,
        /// Exit status.
        status: String,
        /// Its last lines.
        stderr: String,
    },
    /// The encoder's renditions cannot be switched between.
    #[error(
        "segments are not aligned: {what}. This is a fault of the packer or of this ffmpeg; please report it"
    )]
    NotAligned {
        /// Which rendition differs, where.
        what: String,
    },
    /// A media file is not built as it should be.
    #[error("{file}: {what}")]
    Mp4 {
        /// Name of the file.
        file: String,
        /// What is wrong in it.
        what: String,
    },
    /// What was written does not pass the manifest's own check.
    #[error(transparent)]
    Title(#[from] cdn_types::title::TitleError),
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl PackError {
    /// Wraps an I/O error with its place; a full disk gets its own kind.
    pub fn io(path: impl Into<PathBuf>, source: io::Error) -> Self {
        let path = path.into();
        if matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        ) {
            return Self::NoRoom {
                path,
                detail: source.to_string(),
            };
        }
        Self::Io { path, source }
    }

    /// Less space than the renditions may need.
    pub fn no_room(path: impl Into<PathBuf>, wanted: Bytes, free: Bytes) -> Self {
        Self::NoRoom {
            path: path.into(),
            detail: format!("about {wanted} may be needed and {free} are free"),
        }
    }

    /// A media file is not built as it should be.
    pub fn mp4(file: impl Into<String>, what: impl fmt::Display) -> Self {
        Self::Mp4 {
            file: file.into(),
            what: what.to_string(),
        }
    }
}
