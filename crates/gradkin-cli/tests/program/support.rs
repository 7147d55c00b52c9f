//! Running the program, and small files for it to read.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use gradkin_data::write::write_npy;
use gradkin_data::{Array, ArrayData, read_npy};
use rten_onnx::onnx::{
    DataType, Dimension, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, TypeProtoTensor, ValueInfoProto,
};

/// A folder for one test.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.file(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub(crate) fn npy(&self, name: &str, shape: &[usize], values: ArrayData) -> PathBuf {
        let path = self.file(name);
        write_npy(&path, &Array::new(shape.to_vec(), values).unwrap()).unwrap();
        path
    }

    /// Examples of four numbers for [`relu_model`], the last of which is dead there.
    pub(crate) fn rows(&self, name: &str, count: usize) -> PathBuf {
        let mut values: Vec<f32> = (0..4 * count).map(|i| 0.2 + (i * 7 % 11) as f32).collect();
        values[4 * (count - 1)..].fill(-1.0);
        self.npy(name, &[count, 4], ArrayData::F32(values))
    }

    /// The names of everything in the folder, hidden files too.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// The program, to be run in this folder.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gradkin"));
        command.args(args).current_dir(self.path()).stdin(Stdio::null()).env_remove("NO_COLOR");
        command
    }

    /// Run the program in this folder with arguments that have no spaces in them.
    pub(crate) fn run(&self, line: &str) -> Ran {
        Ran::new(self.command(line.split_whitespace()).output().unwrap())
    }
}

/// What the program said.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn new(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    pub(crate) fn succeeds(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }

    /// The user's mistake: code 2, one line that says what is wrong with these words in it, at most
    /// one more that says what to do, and nothing else.
    pub(crate) fn refused(self, words: &[&str]) -> Self {
        self.fails(2, words)
    }

    pub(crate) fn fails(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
        let lines: Vec<&str> =
            self.stderr.lines().filter(|l| !l.starts_with("warning: ")).collect();
        assert!(lines[0].starts_with("error: "), "{self:?}");
        assert!(lines.iter().skip(1).all(|line| line.starts_with("hint: ")), "{self:?}");
        assert!(lines.len() <= 2, "{self:?}");
        for word in words {
            assert!(self.stderr.contains(word), "no {word:?} in {self:?}");
        }
        self
    }
}

/// A table that was printed or written as CSV, with no commas inside its cells.
pub(crate) struct Csv {
    pub(crate) names: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Csv {
    pub(crate) fn new(text: &str) -> Self {
        let mut rows = text.lines().map(|line| line.split(',').map(str::to_owned).collect());
        let names = rows.next().unwrap();
        Self { names, rows: rows.collect() }
    }

    pub(crate) fn read(path: &Path) -> Self {
        Self::new(&std::fs::read_to_string(path).unwrap())
    }

    /// The cells under a name.
    pub(crate) fn column(&self, name: &str) -> Vec<&str> {
        let at = self.names.iter().position(|other| other == name);
        let at = at.unwrap_or_else(|| panic!("no column {name:?} in {:?}", self.names));
        self.rows.iter().map(|row| row[at].as_str()).collect()
    }

    /// The numbers under a name, NaN where there is none.
    pub(crate) fn numbers(&self, name: &str) -> Vec<f64> {
        let cells = self.column(name).into_iter();
        cells.map(|cell| if cell.is_empty() { f64::NAN } else { cell.parse().unwrap() }).collect()
    }
}

/// Parquet's columns, and the settings inside the file.
pub(crate) fn parquet(path: &Path) -> (Vec<String>, serde_json::Value) {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    let reader = SerializedFileReader::new(std::fs::File::open(path).unwrap()).unwrap();
    let metadata = reader.metadata().file_metadata();
    let names = metadata.schema_descr().columns().iter().map(|c| c.name().to_owned()).collect();
    let settings = metadata.key_value_metadata().unwrap();
    let settings = settings.iter().find(|entry| entry.key == "gradkin").unwrap();
    (names, serde_json::from_str(settings.value.as_ref().unwrap()).unwrap())
}

pub(crate) fn read_f64(path: &Path) -> (Vec<usize>, Vec<f64>) {
    let array = read_npy(path).unwrap();
    (array.shape().to_vec(), array.to_f64().unwrap())
}

/// ‖a − b‖ / ‖b‖.
pub(crate) fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let square = |v: f64| v * v;
    let difference: f64 = a.iter().zip(b).map(|(a, b)| square(a - b)).sum();
    (difference / b.iter().map(|b| square(*b)).sum::<f64>()).sqrt()
}

/// The folders of networks with known kernels, which are part of the repository.
pub(crate) fn references() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference")
}

/// A file of the data that is no part of the repository, or a loud remark that a test was left out.
pub(crate) fn shared(test: &str, file: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let root = std::env::var_os("GRADKIN_SHARED").map_or(beside, PathBuf::from);
    let path = root.join("data").join(file);
    if !path.exists() {
        eprintln!("LEFT OUT: {test} needs ../shared/data/{file}");
        return None;
    }
    Some(path)
}

/// y = Relu(x W), x of four numbers and y of three; W is positive, so that a negative x is dead.
pub(crate) fn relu_model() -> ModelProto {
    model(
        vec![node("MatMul", &["x", "w"], &["z"]), node("Relu", &["z"], &["y"])],
        vec![weights("w", &[4, 3])],
        &[None, Some(4)],
    )
}

/// A model from input `x` to output `y`.
pub(crate) fn model(
    node: Vec<NodeProto>,
    initializer: Vec<TensorProto>,
    input: &[Option<i64>],
) -> ModelProto {
    let graph = GraphProto {
        node,
        initializer,
        input: vec![value("x", input)],
        output: vec![ValueInfoProto { name: Some("y".into()), r#type: None }],
        value_info: Vec::new(),
    };
    ModelProto {
        ir_version: Some(8),
        graph: Some(graph),
        opset_import: vec![OperatorSetIdProto { version: Some(17), ..Default::default() }],
        ..Default::default()
    }
}

pub(crate) fn node(operator: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    let strings = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();
    NodeProto {
        name: Some(format!("{}_{}", operator.to_lowercase(), outputs[0])),
        op_type: Some(operator.into()),
        input: strings(inputs),
        output: strings(outputs),
        ..Default::default()
    }
}

/// A stored tensor of small positive numbers.
pub(crate) fn weights(name: &str, dims: &[i64]) -> TensorProto {
    let count: i64 = dims.iter().product();
    TensorProto {
        dims: dims.to_vec(),
        data_type: Some(DataType::FLOAT),
        float_data: (0..count).map(|i| 0.1 + (i * 5 % 7) as f32).collect(),
        name: Some(name.into()),
        ..Default::default()
    }
}

fn value(name: &str, shape: &[Option<i64>]) -> ValueInfoProto {
    let dim = shape.iter().enumerate().map(|(axis, length)| Dimension {
        dim_value: *length,
        dim_param: length.is_none().then(|| format!("axis{axis}")),
    });
    let tensor = TypeProtoTensor {
        elem_type: Some(DataType::FLOAT),
        shape: Some(TensorShapeProto { dim: dim.collect() }),
    };
    let r#type = TypeProto { tensor_type: Some(tensor), sequence: None };
    ValueInfoProto { name: Some(name.into()), r#type: Some(r#type) }
}

impl Folder {
    /// Write a model.
    pub(crate) fn onnx(&self, name: &str, model: &ModelProto) -> PathBuf {
        self.write(name, model.write_buf().unwrap())
    }

    /// [`relu_model`] as `m.onnx` and ten examples as `x.npy`.
    pub(crate) fn with_relu() -> Self {
        let folder = Self::new();
        folder.onnx("m.onnx", &relu_model());
        folder.rows("x.npy", 10);
        folder
    }
}
