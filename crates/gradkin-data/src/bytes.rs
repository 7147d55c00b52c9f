//! Bytes from a file, gzipped or not, that never cost more memory than the file
//! can pay for: a [`Source`] knows how many bytes are left at most, so that a
//! header's claim is checked before anything is allocated.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use crate::error::{DataError, Result, show};

/// Deflate encodes at best 258 bytes in two bits.
const DEFLATE_BEST: u64 = 1032;

/// Memory is reserved and filled in pieces of this many bytes.
const PIECE: usize = 1 << 16;

/// A file being read.
pub(crate) struct Source<'a> {
    reader: Box<dyn BufRead + 'a>,
    name: String,
    most: u64,
    exact: bool,
}

impl<'a> Source<'a> {
    /// Opens `path`, looking through gzip whatever the file is called.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let name = show(path);
        let file = File::open(path).map_err(|e| DataError::io("open", path, e))?;
        let length = file.metadata().map_err(|e| DataError::io("open", path, e))?.len();
        let mut plain = BufReader::with_capacity(PIECE, file);
        let start = plain.fill_buf().map_err(|e| DataError::io("read", path, e))?;
        let (reader, most, exact): (Box<dyn BufRead>, u64, bool) = match start {
            [0x1f, 0x8b, ..] => {
                let unpacked = BufReader::with_capacity(PIECE, MultiGzDecoder::new(plain));
                (Box::new(unpacked), length.saturating_mul(DEFLATE_BEST), false)
            }
            _ => (Box::new(plain), length, true),
        };
        let reader = with_head(reader).map_err(|e| DataError::io("read", path, e))?;
        Ok(Self { reader, name, most, exact })
    }

    /// A member of an archive: `most` bytes at most, deflated from `packed` bytes.
    pub(crate) fn member(
        reader: Box<dyn BufRead + 'a>,
        name: String,
        packed: u64,
        most: u64,
    ) -> Self {
        let most = most.min(packed.saturating_mul(DEFLATE_BEST));
        Self { reader, name, most, exact: false }
    }

    #[cfg(test)]
    pub(crate) fn memory(bytes: &[u8]) -> Self {
        let reader = Box::new(io::Cursor::new(bytes.to_vec()));
        Self { reader, name: "memory".into(), most: bytes.len() as u64, exact: true }
    }

    /// The file's name as it is shown to people.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The bytes left, where the file is not compressed.
    pub(crate) fn left(&self) -> Option<u64> {
        self.exact.then_some(self.most)
    }

    /// The next bytes, without consuming them: at the start of a file as many as
    /// detection needs, later some, none only at the end.
    pub(crate) fn peek(&mut self) -> Result<&[u8]> {
        let name = &self.name;
        self.reader.fill_buf().map_err(|e| DataError::io("read", name, e))
    }

    /// Exactly `N` bytes, or an error that says the file ends early.
    pub(crate) fn take<const N: usize>(&mut self, format: &'static str) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(&mut bytes, format)?;
        Ok(bytes)
    }

    /// `count` bytes, reserved only as they arrive.
    pub(crate) fn take_vec(&mut self, count: usize, format: &'static str) -> Result<Vec<u8>> {
        self.elements(count, format, |[byte]: [u8; 1]| byte)
    }

    /// `count` values of `W` bytes each, decoded one by one.
    pub(crate) fn elements<const W: usize, T>(
        &mut self,
        count: usize,
        format: &'static str,
        decode: impl Fn([u8; W]) -> T,
    ) -> Result<Vec<T>> {
        self.afford(count, W, format)?;
        let mut values = Vec::with_capacity(if self.exact { count } else { 0 });
        let mut piece = vec![0; PIECE / W * W];
        while values.len() < count {
            let bytes = (count - values.len()).min(PIECE / W) * W;
            self.fill(&mut piece[..bytes], format)?;
            values.extend(piece[..bytes].as_chunks::<W>().0.iter().map(|&chunk| decode(chunk)));
        }
        Ok(values)
    }

    /// Everything that is left.
    pub(crate) fn rest(&mut self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.reader.read_to_end(&mut bytes).map_err(|e| DataError::io("read", &self.name, e))?;
        self.most = 0;
        Ok(bytes)
    }

    /// An error if there is anything left.
    pub(crate) fn end(&mut self, format: &'static str) -> Result<()> {
        if self.peek()?.is_empty() {
            return Ok(());
        }
        let reason = "there are more bytes than the header says";
        Err(DataError::malformed(&self.name, format, reason))
    }

    /// The reader itself, for parsers that read on their own.
    pub(crate) fn into_reader(self) -> Box<dyn BufRead + 'a> {
        self.reader
    }

    fn afford(&self, count: usize, width: usize, format: &'static str) -> Result<()> {
        let wanted = (count as u64).checked_mul(width as u64);
        if wanted.is_some_and(|wanted| wanted <= self.most) {
            return Ok(());
        }
        let wanted = wanted.map_or("more than 2^64".into(), |w| w.to_string());
        let left = if self.exact { "left" } else { "left at most" };
        let reason =
            format!("its header calls for {wanted} bytes, but there are {} {left}", self.most);
        Err(DataError::malformed(&self.name, format, reason))
    }

    fn fill(&mut self, bytes: &mut [u8], format: &'static str) -> Result<()> {
        self.most = self.most.saturating_sub(bytes.len() as u64);
        self.reader.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                DataError::malformed(&self.name, format, "the file ends early; fetch it again")
            }
            _ => DataError::io("read", &self.name, error),
        })
    }
}

/// The same reader with its first 64 KiB in one piece, however small the pieces
/// are that the file or its compression hands out.
fn with_head<'a>(mut reader: Box<dyn BufRead + 'a>) -> io::Result<Box<dyn BufRead + 'a>> {
    let mut head = Vec::new();
    reader.by_ref().take(PIECE as u64).read_to_end(&mut head)?;
    Ok(Box::new(io::Cursor::new(head).chain(reader)))
}

/// A reader that refuses lines longer than any table has, so that a compressed
/// file of one endless line cannot fill the memory.
pub(crate) struct BoundedLines<R> {
    inner: R,
    since_newline: usize,
}

const LONGEST_LINE: usize = 64 << 20;

impl<R: Read> BoundedLines<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self { inner, since_newline: 0 }
    }
}

impl<R: Read> Read for BoundedLines<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        match buffer[..count].iter().rposition(|&b| b == b'\n') {
            Some(last) => self.since_newline = count - last - 1,
            None => self.since_newline += count,
        }
        if self.since_newline > LONGEST_LINE {
            return Err(io::Error::other("a line is longer than 64 MiB; is this a table?"));
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_claim_beyond_the_file_is_refused_before_reading() {
        let mut source = Source::memory(&[1, 2, 3]);
        let error = source.take_vec(1 << 50, "test").unwrap_err();
        assert!(error.to_string().contains("calls for 1125899906842624 bytes, but there are 3"));
        assert!(source.elements(usize::MAX, "test", |_: [u8; 8]| ()).is_err());
    }

    #[test]
    fn gzip_is_seen_by_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plain.bin");
        let mut gzip = flate2::write::GzEncoder::new(
            File::create(&path).unwrap(),
            flate2::Compression::default(),
        );
        gzip.write_all(b"hello").unwrap();
        gzip.finish().unwrap();
        let mut source = Source::open(&path).unwrap();
        assert_eq!(source.left(), None);
        assert_eq!(source.take_vec(5, "test").unwrap(), b"hello");
        source.end("test").unwrap();
    }

    #[test]
    fn detection_sees_past_small_pieces() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pieces.gz");
        let file = File::create(&path).unwrap();
        let mut gzip = flate2::write::GzEncoder::new(file, flate2::Compression::default());
        for byte in b"hello" {
            gzip.write_all(&[*byte]).unwrap();
            gzip.flush().unwrap();
        }
        gzip.finish().unwrap();
        assert_eq!(Source::open(&path).unwrap().peek().unwrap(), b"hello");
    }

    #[test]
    fn endless_lines_are_refused() {
        let mut reader = BoundedLines::new(io::repeat(b'x').take(1 << 30));
        assert!(io::copy(&mut reader, &mut io::sink()).is_err());
    }
}
