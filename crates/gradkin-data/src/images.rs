//! A folder of pictures: one folder per class, or all in one. Every header is
//! read when the folder is opened; the pixels are decoded when they are asked for.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use image::{ColorType, DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use crate::array::ArrayData;
use crate::error::{DataError, Result, show};
use crate::labels::Labels;

const FORMAT: &str = "PNG or JPEG";
const MOST_PIXELS: u64 = 1 << 28;
/// A byte of deflate holds at best 1032 bytes, each at best eight 1-bit pixels.
const PIXELS_PER_BYTE: u64 = 8 * 1032;
/// How many bytes at the end of a JPEG are searched for its end marker.
const TAIL: u64 = 1 << 16;

/// The pictures of a folder, in sorted order of class and file name.
#[derive(Debug)]
pub(crate) struct ImageFolder {
    files: Vec<Picture>,
    channels: usize,
    deep: bool,
}

#[derive(Debug)]
struct Picture {
    path: PathBuf,
    height: usize,
    width: usize,
}

/// What a header says.
struct Header {
    height: usize,
    width: usize,
    grey: bool,
    deep: bool,
}

impl ImageFolder {
    /// Lists the folder and reads every header. Labels are the class folders' names.
    pub(crate) fn open(root: &Path) -> Result<(Self, Option<Labels>)> {
        let (paths, labels) = list(root)?;
        let mut files = Vec::with_capacity(paths.len());
        let (mut grey, mut deep) = (true, None);
        for path in paths {
            let header = read_header(&path)?;
            grey &= header.grey;
            if *deep.get_or_insert(header.deep) != header.deep {
                let remedy = "save all pictures with the same number of bits per channel";
                return Err(DataError::unsupported(
                    &show(root),
                    format!("8-bit and 16-bit pictures, {} among them", path.display()),
                    remedy,
                ));
            }
            files.push(Picture { path, height: header.height, width: header.width });
        }
        let channels = if grey { 1 } else { 3 };
        Ok((Self { files, channels, deep: deep.unwrap_or(false) }, labels))
    }

    pub(crate) fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether the pictures have 16 bits per channel.
    pub(crate) fn is_deep(&self) -> bool {
        self.deep
    }

    /// The shape `[height, width, channels]` of all pictures; lengths that differ are `None`.
    pub(crate) fn shape(&self) -> [Option<usize>; 3] {
        let common = |length: fn(&Picture) -> usize| {
            let first = self.files.first().map(length)?;
            self.files.iter().all(|file| length(file) == first).then_some(first)
        };
        [common(|file| file.height), common(|file| file.width), Some(self.channels)]
    }

    /// Two pictures of different sizes, where there are such, for error messages.
    pub(crate) fn unequal(&self) -> Option<String> {
        let first = self.files.first()?;
        let size = |file: &Picture| (file.height, file.width);
        let other = self.files.iter().find(|file| size(file) != size(first))?;
        let show =
            |file: &Picture| format!("{} is {}x{}", file.path.display(), file.height, file.width);
        Some(format!("{}, {}", show(first), show(other)))
    }

    pub(crate) fn path(&self, row: usize) -> &Path {
        &self.files[row].path
    }

    /// The pixels of picture `row` as `[height, width, channels]`.
    pub(crate) fn decode(&self, row: usize) -> Result<([usize; 3], ArrayData)> {
        let file = &self.files[row];
        let image = reader(&file.path)?.decode().map_err(|e| image_error(&file.path, &e))?;
        let (height, width) = (image.height() as usize, image.width() as usize);
        if (height, width) != (file.height, file.width) {
            let reason = format!(
                "it is {height}x{width}, but was {}x{} when the folder was opened",
                file.height, file.width
            );
            return Err(DataError::malformed(&show(&file.path), FORMAT, reason));
        }
        Ok(([height, width, self.channels], self.pixels(image)))
    }

    fn pixels(&self, image: DynamicImage) -> ArrayData {
        let widen = |v: Vec<u16>| ArrayData::I32(v.into_iter().map(i32::from).collect());
        match (self.deep, self.channels) {
            (false, 1) => ArrayData::U8(image.into_luma8().into_raw()),
            (false, _) => ArrayData::U8(image.into_rgb8().into_raw()),
            (true, 1) => widen(image.into_luma16().into_raw()),
            (true, _) => widen(image.into_rgb16().into_raw()),
        }
    }
}

fn image_error(path: &Path, error: &image::ImageError) -> DataError {
    DataError::malformed(&show(path), FORMAT, error.to_string())
}

fn reader(path: &Path) -> Result<ImageReader<std::io::BufReader<fs::File>>> {
    let reader = ImageReader::open(path).map_err(|e| DataError::io("open", path, e))?;
    let mut reader = reader.with_guessed_format().map_err(|e| DataError::io("read", path, e))?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(MOST_PIXELS * 8);
    reader.limits(limits);
    Ok(reader)
}

fn read_header(path: &Path) -> Result<Header> {
    let bytes = fs::metadata(path).map_err(|e| DataError::io("read", path, e))?.len();
    let reader = reader(path)?;
    if reader.format() == Some(ImageFormat::Jpeg) && !has_end_marker(path, bytes)? {
        let reason = "it has no end-of-image marker; the file ends early, fetch it again";
        return Err(DataError::malformed(&show(path), FORMAT, reason));
    }
    let decoder = reader.into_decoder().map_err(|e| image_error(path, &e))?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 || pixels > MOST_PIXELS || pixels > bytes.saturating_mul(PIXELS_PER_BYTE) {
        let reason =
            format!("its header says {height}x{width} pixels, but the file has {bytes} bytes");
        return Err(DataError::malformed(&show(path), FORMAT, reason));
    }
    let color = decoder.color_type();
    Ok(Header {
        height: height as usize,
        width: width as usize,
        grey: !color.has_color(),
        deep: matches!(
            color,
            ColorType::L16 | ColorType::La16 | ColorType::Rgb16 | ColorType::Rgba16
        ),
    })
}

/// Whether a JPEG's end marker is among its last bytes (some programs append
/// more). The decoder would fill what is missing with grey and say nothing.
fn has_end_marker(path: &Path, length: u64) -> Result<bool> {
    let mut tail = Vec::new();
    let read = fs::File::open(path).and_then(|mut file| {
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        file.take(TAIL).read_to_end(&mut tail)
    });
    read.map_err(|e| DataError::io("read", path, e))?;
    Ok(tail.windows(2).any(|pair| pair == [0xff, 0xd9]))
}

/// Whether `start` begins a single picture.
pub(crate) fn looks_like(start: &[u8]) -> bool {
    start.starts_with(b"\x89PNG\r\n") || start.starts_with(&[0xff, 0xd8, 0xff])
}

/// The pictures' paths and, where they lie in class folders, their labels.
fn list(root: &Path) -> Result<(Vec<PathBuf>, Option<Labels>)> {
    let (folders, loose) = entries(root)?;
    if folders.is_empty() && !loose.is_empty() {
        return Ok((loose, None));
    }
    let (mut paths, mut ids, mut names, mut hollow) = (Vec::new(), Vec::new(), Vec::new(), None);
    for folder in &folders {
        let (_, files) = entries(folder)?;
        if files.is_empty() {
            hollow = hollow.or(Some(folder));
        }
        ids.extend(std::iter::repeat_n(names.len() as i64, files.len()));
        names.push(folder.file_name().unwrap_or_default().to_string_lossy().into_owned());
        paths.extend(files);
    }
    if paths.is_empty() {
        let reason = "there is no .png, .jpg or .jpeg in it, nor in the folders directly below it";
        return Err(DataError::empty(&show(root), reason));
    }
    if let Some(folder) = hollow {
        let reason = "every folder beside it is a class; remove it, or name the folder that holds \
                      the class folders";
        return Err(DataError::empty(&show(folder), reason));
    }
    if let Some(first) = loose.first() {
        let found = format!("class folders and loose pictures, {} among them", first.display());
        let remedy = "put every picture into a class folder, or none";
        return Err(DataError::unsupported(&show(root), found, remedy));
    }
    Ok((paths, Some(Labels::Classes { ids, names: Some(names) })))
}

/// The folders and the pictures in `folder`, each sorted; hidden entries are passed over.
fn entries(folder: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let (mut folders, mut pictures) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(folder).map_err(|e| DataError::io("read", folder, e))? {
        let path = entry.map_err(|e| DataError::io("read", folder, e))?.path();
        if path.file_name().unwrap_or_default().to_string_lossy().starts_with('.') {
            continue;
        }
        if path.is_dir() {
            folders.push(path);
        } else if is_picture(&path) {
            pictures.push(path);
        }
    }
    folders.sort();
    pictures.sort();
    Ok((folders, pictures))
}

fn is_picture(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    ["png", "jpg", "jpeg"].contains(&extension.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(root: &Path) -> String {
        ImageFolder::open(root).unwrap_err().to_string()
    }

    fn save(path: PathBuf, image: impl Into<DynamicImage>) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        image.into().save(path).unwrap();
    }

    #[test]
    fn classes_are_sorted_folder_names() {
        let root = tempfile::tempdir().unwrap();
        save(root.path().join("dog/a.png"), image::GrayImage::new(3, 2));
        save(root.path().join("cat/b.png"), image::GrayImage::new(3, 2));
        save(root.path().join("cat/a.png"), image::GrayImage::new(3, 4));
        let (folder, labels) = ImageFolder::open(root.path()).unwrap();
        let names = Some(vec!["cat".to_string(), "dog".to_string()]);
        assert_eq!(labels, Some(Labels::Classes { ids: vec![0, 0, 1], names }));
        assert_eq!(folder.shape(), [None, Some(3), Some(1)]);
        assert!(folder.path(1).ends_with("cat/b.png"));
        assert!(folder.unequal().unwrap().contains("a.png is 4x3"));
        save(root.path().join("dog/c.png"), image::RgbImage::new(3, 2));
        let (folder, _) = ImageFolder::open(root.path()).unwrap();
        assert_eq!(folder.decode(0).unwrap().0, [4, 3, 3]);
    }

    #[test]
    fn folders_that_are_no_data_set() {
        let root = tempfile::tempdir().unwrap();
        assert!(say(root.path()).contains("holds no examples"));
        save(root.path().join("cat/a.png"), image::GrayImage::new(1, 1));
        fs::create_dir(root.path().join("train")).unwrap();
        assert!(say(root.path()).contains("train holds no examples"));
        fs::remove_dir(root.path().join("train")).unwrap();
        save(root.path().join("b.png"), image::GrayImage::new(1, 1));
        assert!(say(root.path()).contains("loose pictures"));
        fs::remove_file(root.path().join("b.png")).unwrap();
        type Deep = image::ImageBuffer<image::Luma<u16>, Vec<u16>>;
        save(root.path().join("cat/b.png"), Deep::new(1, 1));
        assert!(say(root.path()).contains("8-bit and 16-bit"));
    }

    #[test]
    fn truncated_pictures_are_refused() {
        let root = tempfile::tempdir().unwrap();
        for name in ["a.png", "a.jpg"] {
            let path = root.path().join(name);
            save(path.clone(), image::GrayImage::new(40, 40));
            ImageFolder::open(root.path()).unwrap();
            let bytes = fs::read(&path).unwrap();
            for end in [0, 4, 20, bytes.len() / 2, bytes.len() - 20] {
                fs::write(&path, &bytes[..end]).unwrap();
                let decoded = ImageFolder::open(root.path()).and_then(|(f, _)| f.decode(0));
                assert!(decoded.unwrap_err().to_string().contains(name), "{name} {end}");
            }
            fs::remove_file(path).unwrap();
        }
    }
}
