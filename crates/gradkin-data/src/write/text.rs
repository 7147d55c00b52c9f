//! Tables as text: CSV with a header, JSON as one array of records, or a record
//! per line. Floats are the shortest text that reads back the same; what is
//! absent is empty in CSV and null in JSON, which has no NaN either.

use std::io::{self, Write};

use serde_json::to_writer;

use super::table::{ColumnData, Table, Values};

impl Table {
    /// Writes the table as CSV with a header row.
    pub fn write_csv(&self, to: impl Write) -> io::Result<()> {
        let mut writer = csv::Writer::from_writer(to);
        writer.write_record(self.names())?;
        for row in 0..self.rows() {
            for (_, column) in &self.columns {
                writer.write_field(cell(column, row))?;
            }
            writer.write_record(None::<&[u8]>)?;
        }
        writer.flush()
    }

    /// Writes the table as one JSON array of records.
    pub fn write_json(&self, mut to: impl Write) -> io::Result<()> {
        for row in 0..self.rows() {
            to.write_all(if row == 0 { b"[\n" } else { b",\n" })?;
            self.write_record(row, &mut to)?;
        }
        to.write_all(if self.rows() == 0 { b"[]\n" } else { b"\n]\n" })?;
        to.flush()
    }

    /// Writes the table as JSON lines, one record each.
    pub fn write_json_lines(&self, mut to: impl Write) -> io::Result<()> {
        for row in 0..self.rows() {
            self.write_record(row, &mut to)?;
            to.write_all(b"\n")?;
        }
        to.flush()
    }

    fn write_record(&self, row: usize, to: &mut impl Write) -> io::Result<()> {
        for (at, (name, column)) in self.columns.iter().enumerate() {
            to.write_all(if at == 0 { b"{" } else { b"," })?;
            to_writer(&mut *to, name)?;
            to.write_all(b":")?;
            if !column.is_present(row) {
                to.write_all(b"null")?;
                continue;
            }
            match &column.values {
                Values::I64(v) => to_writer(&mut *to, &v[row]),
                Values::U32(v) => to_writer(&mut *to, &v[row]),
                Values::F32(v) => to_writer(&mut *to, &v[row]),
                Values::F64(v) => to_writer(&mut *to, &v[row]),
                Values::Text(v) => to_writer(&mut *to, &v[row]),
                Values::Bool(v) => to_writer(&mut *to, &v[row]),
            }?;
        }
        to.write_all(b"}")
    }
}

fn cell(column: &ColumnData, row: usize) -> String {
    if !column.is_present(row) {
        return String::new();
    }
    match &column.values {
        Values::I64(v) => v[row].to_string(),
        Values::U32(v) => v[row].to_string(),
        Values::F32(v) => format!("{:?}", v[row]),
        Values::F64(v) => format!("{:?}", v[row]),
        Values::Text(v) => v[row].clone(),
        Values::Bool(v) => v[row].to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new();
        table.push("id", vec![1_u32, 2]).unwrap();
        table.push("name, \"full\"", vec!["a\nb".to_string(), "c,d".to_string()]).unwrap();
        table.push("x", vec![0.1_f32, f32::NAN]).unwrap();
        table.push("y", vec![Some(1e-300), None::<f64>]).unwrap();
        table.push("ok", vec![true, false]).unwrap();
        table
    }

    fn text(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> String {
        let mut bytes = Vec::new();
        write(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn csv_quotes_what_it_must() {
        let csv = text(|to| table().write_csv(to));
        let expected = "id,\"name, \"\"full\"\"\",x,y,ok\n1,\"a\nb\",0.1,1e-300,true\n\
                        2,\"c,d\",NaN,,false\n";
        assert_eq!(csv, expected);
    }

    #[test]
    fn json_reads_back() {
        let json = text(|to| table().write_json(to));
        let parsed: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(parsed[0]["name, \"full\""], "a\nb");
        assert_eq!(parsed[1]["x"], serde_json::Value::Null);
        assert!(json.contains("\"x\":0.1,\"y\":1e-300"), "{json}");
        let lines = text(|to| table().write_json_lines(to));
        assert_eq!(lines.lines().count(), 2);
        assert_eq!(text(|to| Table::new().write_json(to)), "[]\n");
    }
}
