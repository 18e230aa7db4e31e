#include "sim/io/csv.hpp"

#include <string>
#include <vector>

#include "sim/io/error.hpp"
#include "tests/support/catch.hpp"
#include "tests/unit/io/temporary_folder.hpp"

using Catch::Matchers::Contains;
using moesim::io::append_csv_field;
using moesim::io::CsvField;
using moesim::io::CsvReader;
using moesim::io::IoError;
using moesim::io::LineReader;
using moesim::io::testing::TemporaryFolder;

namespace {

using Record = std::vector<std::string>;

std::vector<Record> records_of(std::string_view text) {
  const TemporaryFolder folder;
  LineReader lines(folder.put("a.csv", text));
  CsvReader reader(lines);
  std::vector<Record> records;
  std::vector<CsvField> fields;
  while (reader.next(fields)) {
    Record& record = records.emplace_back();
    for (const CsvField& field : fields) {
      record.push_back(field.text);
    }
  }
  CHECK(fields.empty());
  return records;
}

IoError error_of(std::string_view text) {
  try {
    static_cast<void>(records_of(text));
  } catch (const IoError& error) {
    return error;
  }
  FAIL("no error");
  return IoError("", 0, "");
}

std::string joined(const Record& fields) {
  std::string record;
  for (const std::string& field : fields) {
    append_csv_field(record, field);
  }
  return record;
}

}  // namespace

TEST_CASE("plain and quoted fields are read") {
  CHECK(records_of("").empty());
  CHECK(records_of("a,b,c\n1,2,3\n") == std::vector<Record>{{"a", "b", "c"}, {"1", "2", "3"}});
  CHECK(records_of("a,,\r\n,\r\n") == std::vector<Record>{{"a", "", ""}, {"", ""}});
  CHECK(records_of("\"a\",\"\",\"b,c\",\"d\"\"e\"") == std::vector<Record>{{"a", "", "b,c", "d\"e"}});
  CHECK(records_of("\"\"\"\"") == std::vector<Record>{{"\""}});
  CHECK(records_of(" a , b ") == std::vector<Record>{{" a ", " b "}});
  CHECK(records_of("a\n\nb\n") == std::vector<Record>{{"a"}, {""}, {"b"}});
  CHECK(records_of("a,") == std::vector<Record>{{"a", ""}});
  CHECK(records_of("a,\"\"") == std::vector<Record>{{"a", ""}});
}

TEST_CASE("quoted fields span lines and keep their line ends") {
  CHECK(records_of("\"a\nb\",c\nd,e\n") == std::vector<Record>{{"a\nb", "c"}, {"d", "e"}});
  CHECK(records_of("\"a\r\nb\n\n\",c\r\n") == std::vector<Record>{{"a\r\nb\n\n", "c"}});
  CHECK(records_of("x,\"\n\"\"\n\",\"y\nz\"\n") == std::vector<Record>{{"x", "\n\"\n", "y\nz"}});
}

TEST_CASE("fields know their bytes in the line") {
  const TemporaryFolder folder;
  LineReader lines(folder.put("a.csv",
                              "\xef\xbb\xbf"
                              "ab,\"c\"\"d\",,\"e\nf\",g\n12,3\n"));
  CsvReader reader(lines);
  std::vector<CsvField> fields;
  REQUIRE(reader.next(fields));
  REQUIRE(fields.size() == 5);
  CHECK(reader.line_number() == 1);
  CHECK(reader.line_text() == "ab,\"c\"\"d\",,\"e");
  CHECK(fields[0].begin == 0);
  CHECK(fields[0].end == 2);
  CHECK(fields[1].begin == 3);
  CHECK(fields[1].end == 9);
  CHECK(fields[2].begin == 10);
  CHECK(fields[2].end == 10);
  CHECK(fields[3].begin == 11);
  CHECK(fields[3].end == 13);
  CHECK(fields[4].begin == 13);
  CHECK(fields[4].end == 13);
  REQUIRE(reader.next(fields));
  REQUIRE(fields.size() == 2);
  CHECK(reader.line_number() == 3);
  CHECK(reader.line_text() == "12,3");
  CHECK(fields[1].begin == 3);
  CHECK(fields[1].end == 4);
  CHECK_FALSE(reader.next(fields));
}

TEST_CASE("misplaced quotes are told with line and column") {
  const IoError open = error_of("a,b\nc,\"d\ne\nf\n");
  CHECK(open.message() == "column 3: quote is not closed");
  CHECK(open.line() == 2);
  const IoError after = error_of("a\n\"x\ny\" ,b\n");
  CHECK(after.message() == "column 3: text after a closing quote");
  CHECK(after.line() == 3);
  const IoError inside = error_of("a,b\"c\"\n");
  CHECK(inside.message() == "column 4: quote inside an unquoted field");
  CHECK(inside.line() == 1);
  CHECK(error_of("\"").message() == "column 1: quote is not closed");
  CHECK(error_of("\"\"\"").message() == "column 1: quote is not closed");
  CHECK(error_of(" \"a\"").message() == "column 2: quote inside an unquoted field");
}

TEST_CASE("a quote that is never closed does not swallow the memory") {
  std::string text = "a\n\"b\n";
  const std::string line(std::size_t{1} << 20, 'x');
  for (int i = 0; i < 17; ++i) {
    text += line + "\n";
  }
  const IoError error = error_of(text);
  CHECK_THAT(error.message(), Contains("longer than 16777216 bytes"));
  CHECK(error.line() == 2);
  CHECK(records_of("\"" + std::string(LineReader::kMaxLineBytes - 2, '\n') + "\"").size() == 1);
}

TEST_CASE("a record may have many fields and not more") {
  const std::string commas(CsvReader::kMaxFields - 1, ',');
  CHECK(records_of(commas)[0].size() == CsvReader::kMaxFields);
  CHECK_THAT(error_of(commas + ",").message(), Contains("more than 65536 fields"));
}

TEST_CASE("fields are quoted only where needed") {
  CHECK(joined({"a", "b c", "1.5"}) == "a,b c,1.5");
  CHECK(joined({"a,b", "c\"d", "e\nf", "g\r"}) == "\"a,b\",\"c\"\"d\",\"e\nf\",\"g\r\"");
  CHECK(joined({"", "", "a"}) == "\"\",,a");
  CHECK(joined({""}) == "\"\"");
  CHECK(joined({"\xef\xbb\xbfname", "gr\xc3\xbc\xc3\x9f"}) == "\"\xef\xbb\xbfname\",gr\xc3\xbc\xc3\x9f");
}
