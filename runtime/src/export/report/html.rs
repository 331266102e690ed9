//! Tables.

use super::text::esc;

/// A table with a caption. Cells are HTML.
pub(super) struct Table {
    html: String,
}

/// One cell.
pub(super) enum Cell {
    /// A row's name.
    Name(String),
    /// Text.
    Text(String),
    /// A number, aligned to the right.
    Number(String),
    /// One text over several columns.
    Wide(usize, String),
}

impl Table {
    /// A table with this caption (HTML) and these columns; those whose name
    /// begins with `#` hold numbers.
    pub(super) fn new(caption: &str, columns: &[&str]) -> Self {
        let mut html =
            format!("<div class=\"scroll\"><table>\n<caption>{caption}</caption>\n<thead><tr>");
        for column in columns {
            match column.strip_prefix('#') {
                Some(name) => {
                    html.push_str(&format!("<th scope=\"col\" class=\"n\">{}</th>", esc(name)));
                }
                None => html.push_str(&format!("<th scope=\"col\">{}</th>", esc(column))),
            }
        }
        html.push_str("</tr></thead>\n<tbody>\n");
        Self { html }
    }

    /// The same with a first row of headings that each span several columns.
    pub(super) fn grouped(caption: &str, groups: &[(&str, usize)], columns: &[&str]) -> Self {
        let mut table = Self::new(caption, columns);
        let mut row = "<thead><tr>".to_owned();
        for (name, span) in groups {
            row.push_str(&format!("<th scope=\"colgroup\" colspan=\"{span}\">{}</th>", esc(name)));
        }
        row.push_str("</tr>\n<tr>");
        table.html = table.html.replacen("<thead><tr>", &row, 1);
        table
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.html.push_str("<tr>");
        for cell in cells {
            match cell {
                Cell::Name(html) => {
                    self.html.push_str(&format!("<th scope=\"row\">{html}</th>"));
                }
                Cell::Text(html) => self.html.push_str(&format!("<td>{html}</td>")),
                Cell::Number(html) => {
                    self.html.push_str(&format!("<td class=\"n\">{html}</td>"));
                }
                Cell::Wide(span, html) => {
                    self.html.push_str(&format!("<td class=\"n\" colspan=\"{span}\">{html}</td>"));
                }
            }
        }
        self.html.push_str("</tr>\n");
    }

    pub(super) fn finish(mut self) -> String {
        self.html.push_str("</tbody>\n</table></div>\n");
        self.html
    }
}

/// Something that is closed until it is asked for; both are HTML.
pub(super) fn details(summary: &str, body: &str) -> String {
    format!("<details>\n<summary>{summary}</summary>\n{body}</details>\n")
}

/// A list of texts; nothing if there are none.
pub(super) fn list(class: &str, texts: &[String]) -> String {
    if texts.is_empty() {
        return String::new();
    }
    let items: String = texts.iter().map(|text| format!("<li>{}</li>\n", esc(text))).collect();
    format!("<ul class=\"{class}\">\n{items}</ul>\n")
}
