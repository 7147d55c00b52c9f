//! Tables as Parquet: Snappy-compressed row groups, one page of settings as
//! key-value metadata. Columns with gaps are optional, the others required.

use std::io::{self, Write};
use std::ops::Range;
use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use parquet::data_type::{
    BoolType, ByteArray, ByteArrayType, DataType, DoubleType, FloatType, Int32Type, Int64Type,
};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::{Type, TypePtr};

use super::table::{ColumnData, Table, Values};

const ROWS_PER_GROUP: usize = 1 << 18;

impl Table {
    /// Writes the table as Parquet, with its metadata.
    pub fn write_parquet(&self, to: impl Write + Send) -> io::Result<()> {
        self.try_parquet(to).map_err(|error| match error {
            ParquetError::External(cause) => match cause.downcast::<io::Error>() {
                Ok(cause) => *cause,
                Err(cause) => io::Error::other(cause),
            },
            other => io::Error::other(other),
        })
    }

    fn try_parquet(&self, to: impl Write + Send) -> Result<()> {
        let settings = self.metadata.iter();
        let settings = settings.map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_key_value_metadata(Some(settings.collect()))
            .build();
        let mut writer = SerializedFileWriter::new(to, self.schema()?, Arc::new(properties))?;
        for start in (0..self.rows()).step_by(ROWS_PER_GROUP) {
            let rows = start..(start + ROWS_PER_GROUP).min(self.rows());
            let mut group = writer.next_row_group()?;
            for (_, column) in &self.columns {
                if let Some(mut writer) = group.next_column()? {
                    write_column(&mut writer, column, rows.clone())?;
                    writer.close()?;
                }
            }
            group.close()?;
        }
        writer.close().map(drop)
    }

    fn schema(&self) -> Result<TypePtr> {
        let fields = self.columns.iter().map(|(name, column)| field(name, column));
        let fields = fields.collect::<Result<Vec<TypePtr>>>()?;
        Type::group_type_builder("schema").with_fields(fields).build().map(Arc::new)
    }
}

fn field(name: &str, column: &ColumnData) -> Result<TypePtr> {
    let (physical, logical) = match &column.values {
        Values::I64(_) => (Physical::INT64, None),
        Values::U32(_) => (Physical::INT32, Some(LogicalType::integer(32, false))),
        Values::F32(_) => (Physical::FLOAT, None),
        Values::F64(_) => (Physical::DOUBLE, None),
        Values::Text(_) => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        Values::Bool(_) => (Physical::BOOLEAN, None),
    };
    let repetition = match column.present {
        Some(_) => Repetition::OPTIONAL,
        None => Repetition::REQUIRED,
    };
    let builder = Type::primitive_type_builder(name, physical).with_repetition(repetition);
    builder.with_logical_type(logical).build().map(Arc::new)
}

fn write_column(
    writer: &mut SerializedColumnWriter<'_>,
    column: &ColumnData,
    rows: Range<usize>,
) -> Result<()> {
    let bytes = |text: &String| ByteArray::from(text.as_str());
    match &column.values {
        Values::I64(v) => write_values::<Int64Type, _>(writer, column, rows, v, |&x| x),
        // Parquet keeps unsigned integers as the signed ones of the same bits.
        Values::U32(v) => {
            write_values::<Int32Type, _>(writer, column, rows, v, |x| x.cast_signed())
        }
        Values::F32(v) => write_values::<FloatType, _>(writer, column, rows, v, |&x| x),
        Values::F64(v) => write_values::<DoubleType, _>(writer, column, rows, v, |&x| x),
        Values::Text(v) => write_values::<ByteArrayType, _>(writer, column, rows, v, bytes),
        Values::Bool(v) => write_values::<BoolType, _>(writer, column, rows, v, |&x| x),
    }
}

fn write_values<D: DataType, T>(
    writer: &mut SerializedColumnWriter<'_>,
    column: &ColumnData,
    rows: Range<usize>,
    values: &[T],
    convert: impl Fn(&T) -> D::T,
) -> Result<()> {
    let present = column.present.as_ref().map(|present| &present[rows.clone()]);
    let values = values[rows].iter().enumerate();
    let values = values.filter(|(row, _)| present.is_none_or(|present| present[*row]));
    let values: Vec<D::T> = values.map(|(_, x)| convert(x)).collect();
    let levels: Option<Vec<i16>> =
        present.map(|present| present.iter().map(|&there| i16::from(there)).collect());
    writer.typed::<D>().write_batch(&values, levels.as_deref(), None).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::RowAccessor;

    #[test]
    fn reads_back_with_its_settings() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        let mut table = Table::new();
        table.push("id", vec![-1_i64, i64::MAX]).unwrap();
        table.push("node", vec![u32::MAX, 3]).unwrap();
        table.push("score", vec![Some(0.1_f32), None]).unwrap();
        table.push("name", vec![None, Some("é".to_string())]).unwrap();
        table.push("ok", vec![true, false]).unwrap();
        table.push("x", vec![f64::NAN, 0.1]).unwrap();
        table.set_metadata("seed", "1");
        table.set_metadata("seed", "2");
        table.write(&path).unwrap();

        let reader = SerializedFileReader::new(std::fs::File::open(&path).unwrap()).unwrap();
        let settings = reader.metadata().file_metadata().key_value_metadata().unwrap();
        assert!(settings.iter().any(|s| s.key == "seed" && s.value.as_deref() == Some("2")));
        let compression = reader.metadata().row_group(0).column(0).compression();
        assert_eq!(compression, Compression::SNAPPY);
        let rows: Vec<_> = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
        assert_eq!((rows[0].get_long(0).unwrap(), rows[1].get_long(0).unwrap()), (-1, i64::MAX));
        assert_eq!(rows[0].get_uint(1).unwrap(), u32::MAX);
        assert_eq!(rows[0].get_float(2).unwrap(), 0.1);
        assert!(rows[1].get_float(2).is_err() && rows[0].get_string(3).is_err());
        assert_eq!(rows[1].get_string(3).unwrap(), "é");
        assert!(rows[0].get_double(5).unwrap().is_nan() && !rows[1].get_bool(4).unwrap());
    }

    #[test]
    fn several_row_groups() {
        let mut table = Table::new();
        let count = ROWS_PER_GROUP as i64 + 5;
        table
            .push("id", (0..count).map(|i| (i % 2 == 0).then_some(i)).collect::<Vec<_>>())
            .unwrap();
        let mut file = tempfile::tempfile().unwrap();
        table.write_parquet(&mut file).unwrap();
        let reader = SerializedFileReader::new(file).unwrap();
        assert_eq!(reader.num_row_groups(), 2);
        assert_eq!(reader.metadata().file_metadata().num_rows(), count);
    }
}
