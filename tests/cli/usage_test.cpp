#include <filesystem>

#include "cli/sluice_program.hpp"

namespace sluice {
namespace {

using test::contains;
using test::expect_refusal;
using test::expect_success;
using test::Outcome;

TEST(Usage, VersionAndHelpTeach) {
  EXPECT_TRUE(expect_success("--version").out.starts_with("sluice 0."));
  const std::string help = expect_success("--help").out;
  for (const char* verb : {"run", "bench moe", "eval gsm8k", "fields", "inspect", "layer", "logits",
                           "tokenize", "audit"}) {
    const std::string name = std::string(verb).substr(0, std::string(verb).find(' '));
    EXPECT_TRUE(contains(help, "\n  " + name + " ")) << verb;
    const std::string page = expect_success(std::string(verb) + " --help").out;
    EXPECT_TRUE(contains(page, "Example")) << verb;
    EXPECT_TRUE(contains(page, "  sluice " + std::string(verb))) << verb;
  }
}

TEST(Usage, MistakesAreOneLineAndExitTwo) {
  expect_refusal("", "sluice needs a verb; there are run, eval, audit");
  expect_refusal("inspekt", "no verb \"inspekt\" (did you mean \"inspect\"?); there are run,");
  expect_refusal("eval", "eval needs a task; there is gsm8k");
  expect_refusal("eval gsm9k", "no task \"gsm9k\" (did you mean \"gsm8k\"?); there is gsm8k");
  expect_refusal("bench", "bench needs a task; there is moe");
  expect_refusal("layer --spec x.json", "required");
  expect_refusal("layer --no-such-option", "");
  expect_refusal("bench moe", "required");
  expect_refusal("bench moe --shape qwen3-30b --peer mkl", "mkl not in {onednn,ggml,none}");
  expect_refusal("bench moe --shape qwen3-30b --peer none --no-peer", " excludes ");
  expect_refusal("eval gsm8k", "--model");
  expect_refusal("inspect", "");
  expect_refusal("tokenize --model /nonexistent hello", "/nonexistent");
  expect_refusal("run --model /nonexistent hello", "there is no directory \"/nonexistent\"");
  expect_refusal("inspect /nonexistent", "/nonexistent");
  expect_refusal("inspect --spec /nonexistent.json", "/nonexistent.json");
  expect_refusal("inspect --config /tmp", "/tmp: it is a directory");
  expect_refusal("run --model x --threads -1 hi", "\"-1\" given; a whole number of at least 0");
  expect_refusal("run --model '" SLUICE_SOURCE_DIR "/demo/trinity-tiny' --threads 100000 hi",
                 "4096");
}

TEST(Usage, EveryVerbTakesTheBackendOfTheEnvironment) {
  const auto audited = [](const std::string& arguments) {
    const Outcome outcome = test::run_sluice("audit --suite K --rounds 1 --json - " + arguments,
                                             "SLUICE_BACKEND=reference");
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return nlohmann::json::parse(outcome.out).at("backend").get<std::string>();
  };
  EXPECT_EQ(audited(""), "reference");
  EXPECT_EQ(audited("--backend cpu"), "cpu");
  const std::string bench = "bench moe --shape 64,64,4,2 --tokens 1 --seconds 0.01 --json - ";
  const Outcome outcome = test::run_sluice(bench, "SLUICE_BACKEND=reference");
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(nlohmann::json::parse(outcome.out).at("variant"), "double");  // cpu has none of it
  for (const std::string& command : {bench, std::string("audit"), std::string("audit --mutants")}) {
    const Outcome refused = test::run_sluice(command, "SLUICE_BACKEND=nobody");
    EXPECT_EQ(refused.code, 2) << command;
    EXPECT_TRUE(contains(refused.err, "nobody")) << refused.err;
  }
}

// Before any of it is taken, which may take minutes to fail.
TEST(Usage, ABenchmarkThatNoMemoryHoldsSaysWhatItNeeds) {
  expect_refusal("bench moe --shape 100000,100000,512,8 --tokens 1 --peer none --threads 1",
                 "custom, H 100000, I 100000, E 512, needs 30900.5 GB of memory (packed weights "
                 "30720.0 GB, the values that are packed 60.0 GB, the comparison 120.0 GB, ");
}

TEST(Usage, ABenchmarkCountsItsThreads) {
  const std::string bench = "bench moe --shape 64,64,4,2 --tokens 1 --seconds 0.01 --peer none";
  EXPECT_TRUE(contains(expect_success(bench + " --threads 1").out, ", 1 thread, "));
  EXPECT_TRUE(contains(expect_success(bench + " --threads 2").out, ", 2 threads, "));
  EXPECT_TRUE(contains(expect_success(bench).out, ", 2 threads, "));  // SLUICE_THREADS of the tests
}

TEST(Usage, RowsOfABenchmarkThatIsStoppedAreKept) {
  const test::ScratchDirectory scratch;
  const std::string json = scratch.file("bench.json");
  const std::string script =
      "exec 2>/dev/null; '" + std::string(SLUICE_BINARY_DIR) +
      "/bin/sluice' bench moe --shape 64,64,4,2 --peer none " +
      "--tokens 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20 --seconds 1 --json '" + json +
      "' & while [ ! -s '" + json + "' ] && kill -0 $!; do sleep 0.05; done; kill $!; ! wait $!";
  EXPECT_EQ(std::system(script.c_str()), 0);
  const auto rows = nlohmann::json::parse(scratch.read("bench.json")).at("rows");
  EXPECT_EQ(rows.at(0).at("tokens"), 1);
  EXPECT_LT(rows.size(), 20u);
  // Where each would stand behind the other, there is one report.
  const std::string two = "bench moe --shape 64,64,4,2 --tokens 1,2 --seconds 0.01 --peer none ";
  const Outcome outcome = expect_success(two + "--json /dev/stderr");
  EXPECT_EQ(nlohmann::json::parse(outcome.err).at("rows").size(), 2u);
}

// The library behind the options would wrap the first two around and take the rest.
TEST(Usage, NumbersAreWhatWasTyped) {
  for (const std::string command :
       {"audit --backend x --seed ", "run --model x --seed ", "bench moe --shape x --seed "}) {
    for (const char* seed : {"-1", "18446744073709551616", "1.5", "x", "''"}) {
      expect_refusal(command + seed, "a whole number from 0 to 18446744073709551615 is needed");
    }
  }
  for (const std::string command :
       {"audit --plugin x --time-limit ", "bench moe --shape x --seconds "}) {
    for (const char* seconds : {"nan", "inf", "0", "-1", "1e300", "x"}) {
      expect_refusal(command + seconds, "seconds above 0, at most 1e+09, are needed");
    }
  }
  // Eight, or ten?
  expect_refusal("run --model x --seed 010",
                 "18446744073709551615 is needed, without leading zeros");
  expect_refusal("run --model x --max-new-tokens 010",
                 "at least 0 is needed, without leading zeros");
  for (const char* k : {"010", "''", "-1", "1.5", "99999999999999999999"}) {
    expect_refusal(std::string("run --model x --temperature 1 --top-k ") + k,
                   "at least 0 is needed");
  }
  for (const std::string option : {"--temperature", "--top-p", "--min-p", "--kv-a-layernorm-eps"}) {
    for (const char* number : {"''", "x", "0x1", "' 1'", "1e999"}) {
      expect_refusal("run --model x " + option + " " + number, "given; a number is needed");
    }
  }
  expect_refusal("audit --plugin nobody.so --time-limit 0.5 --seed 18446744073709551615",
                 "nobody.so");
}

// A name inside the directory is none of the directory's business.
TEST(Usage, AReplayDirectoryMayHoldAnything) {
  const test::ScratchDirectory scratch;
  std::filesystem::create_directory(scratch.file("sluice"));
  expect_refusal("audit --backend nobody --replay '" + scratch.file("") + "'", "nobody");
}

// Nothing else that these commands name exists, and yet it is the output path that they refuse.
TEST(Usage, OutputPathsAreTriedBeforeAnyWork) {
  const test::ScratchDirectory scratch;
  const std::string inputs = " --spec /nonexistent --weights /nonexistent --input /nonexistent";
  const std::string problems = "eval gsm8k --model /nonexistent --data /nonexistent";
  const std::vector<std::string> commands{"logits --model /nonexistent --ids /nonexistent --out",
                                          "layer" + inputs + " --out",
                                          "layer" + inputs + " --out /dev/null --json",
                                          problems + " --json",
                                          problems + " --records",
                                          "inspect /nonexistent --json",
                                          "bench moe --shape x --json",
                                          "audit --backend x --json",
                                          "audit --backend x --html"};
  for (const std::string& command : commands) {
    expect_refusal(command + " /nonexistent/there", "cannot write /nonexistent/there: No such");
    expect_refusal(command + " '" + scratch.file("") + "'", "Is a directory");
  }
  expect_refusal("audit --backend x --replay /dev/null/there", "cannot write /dev/null/there: Not");
  expect_refusal("audit --backend x --replay /proc/a/b", "cannot write /proc/a/b: ");
  // Results that are no stream of text.
  for (const std::string& command :
       {"layer" + inputs + " --out -", std::string("logits --model x --ids x --out -"),
        problems + " --records -"}) {
    expect_refusal(command, "- given; this result needs a file");
  }
  EXPECT_TRUE(std::filesystem::is_empty(scratch.file("")));
  expect_refusal(problems + " --json x.json --records x.json", "both name x.json");
}

TEST(Usage, StandardOutputIsGivenAsADash) {
  for (const char* name : {"/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"}) {
    for (const std::string command : {"audit --backend x --json ", "audit --backend x --html ",
                                      "inspect x --json ", "logits --model x --ids x --out "}) {
      expect_refusal(command + name, "it is standard output, which is given as -");
    }
  }
  EXPECT_TRUE(std::filesystem::is_symlink("/dev/stdout"));
}

TEST(Usage, ALinkKeepsPointingAtWhatIsWritten) {
  const test::ScratchDirectory scratch;
  scratch.write("old.json", "old");
  std::filesystem::create_symlink("old.json", scratch.file("link"));
  expect_success("audit --list-mutants --json '" + scratch.file("link") + "'");
  EXPECT_TRUE(std::filesystem::is_symlink(scratch.file("link")));
  EXPECT_TRUE(nlohmann::json::accept(scratch.read("old.json")));
}

// Nothing that these commands name as input exists for them to read, and what they would write over
// stays as it is.
TEST(Usage, ResultsDoNotWriteOverInputsNorOverEachOther) {
  const test::ScratchDirectory scratch;
  scratch.write("file", "mine");
  std::filesystem::create_symlink("file", scratch.file("link"));
  const std::string file = scratch.file("file");  // no word of a shell's: no quotes
  const std::string again = scratch.file("./link");
  const auto refused = [&](const std::string& command, const std::string& part) {
    expect_refusal(command, part);
    EXPECT_EQ(scratch.read("file"), "mine") << command;
  };
  refused("eval gsm8k --model x --data " + file + " --json " + again,
          "--json would write over --data");
  refused("eval gsm8k --model x --data " + file + " --records " + again, "over --data");
  refused("eval gsm8k --model x --data x --shots-file " + file + " --json " + again,
          "--shots-file");
  refused("eval gsm8k --score " + file + " --json " + again, "over --score");
  refused("logits --model x --ids " + file + " --out " + again, "--out would write over --ids");
  refused("layer --spec " + file + " --weights x --input x --out " + again, "over --spec");
  refused("layer --spec x --weights " + file + " --input x --out " + again, "over --weights");
  refused("layer --spec x --weights x --input " + file + " --out y --json " + again,
          "over --input");
  refused("audit --spec " + file + " --html " + again, "--html would write over --spec");
  refused("audit --rate-test " + file + " --json " + again, "over --rate-test");
  refused("audit --plugin " + file + " --json " + again, "over --plugin");
  refused("inspect --config " + file + " --json " + again, "over --config");
  refused("audit --json " + file + " --html " + again, "--json and --html both name");
  expect_refusal("audit --json x.json --html ./x.json", "--json and --html both name ./x.json");
  expect_success("audit --list-mutants --json /dev/null");
}

TEST(Usage, ComplaintsAboutASpecNameItsFileAndLine) {
  const test::ScratchDirectory scratch;
  const std::string spec = scratch.write("mine.json", "{\"router\": {\n  \"top_k\": }}");
  for (const std::string command : {"inspect --spec '", "audit --spec '",
                                    "layer --weights x --input x --out /dev/null --spec '"}) {
    expect_refusal(command + spec + "'", "mine.json: the spec is not JSON: ");
    expect_refusal(command + spec + "'", "line 2, column 12");
  }
}

// An empty word is a text of no characters, and no reason to read standard input.
TEST(Usage, AnEmptyTextIsAText) {
  const test::ScratchDirectory scratch;
  const std::string tokenize =
      "printf hi | '" SLUICE_BINARY_DIR "/bin/sluice' tokenize --model '" SLUICE_SOURCE_DIR
      "/demo/trinity-tiny' ";
  ASSERT_EQ(std::system((tokenize + "'' >'" + scratch.file("empty") + "'").c_str()), 0);
  EXPECT_EQ(scratch.read("empty"), "[]\n");
  ASSERT_EQ(std::system((tokenize + ">'" + scratch.file("piped") + "'").c_str()), 0);
  EXPECT_NE(scratch.read("piped"), "[]\n");
}

// Streams that cannot be written end in an exit status, never in an abort.
TEST(Usage, StreamsThatCannotBeWritten) {
  const test::ScratchDirectory scratch;
  const auto code_of = [&](const std::string& arguments) {
    const std::string command = "'" SLUICE_BINARY_DIR "/bin/sluice' " + arguments;
    const int status = std::system(("(" + command + ") 2>>'" + scratch.file("err") + "'").c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  };
  for (const char* broken : {"2>/dev/full", "2>&-"}) {
    EXPECT_EQ(code_of(std::string("inspekt ") + broken), 2);
    EXPECT_EQ(code_of(std::string("inspect /nonexistent ") + broken), 2);
    EXPECT_EQ(code_of(std::string("audit --plugin /nonexistent ") + broken), 2);
  }
  const std::string tiny = "--model '" SLUICE_SOURCE_DIR "/demo/trinity-tiny' ";
  EXPECT_EQ(code_of("run " + tiny + "--verbose hi >/dev/null 2>/dev/full"), 0);
  EXPECT_EQ(scratch.read("err"), "");  // of the shell's: no signal ended any of them
  // A long page and short ones: some are noticed by the write, others when it is flushed.
  for (const std::string printed : {"fields", "fields --methods", "audit --list-mutants", "--help",
                                    "run --help", "--version"}) {
    EXPECT_EQ(code_of(printed + " >/dev/full"), 2) << printed;
  }
  // At the first token: the figures of a whole answer are not in the error's way.
  EXPECT_EQ(code_of("run " + tiny + "--verbose hi >/dev/full"), 2);
  const std::string line = "sluice: error: cannot write to standard output (user)\n";
  std::string lines;
  for (int i = 0; i < 7; ++i) lines += line;
  EXPECT_EQ(scratch.read("err"), lines);
}

// A variable that nobody set must not turn the audit of a plugin into that of the fastest backend.
TEST(Usage, AnEmptyValueIsNotAnOptionLeftOut) {
  for (const std::string option : {"--plugin", "--backend", "--inject", "--spec", "--json",
                                   "--html", "--replay", "--rate-test"}) {
    expect_refusal("audit --suite K " + option + " ''",
                   option + " was given an empty value; give it");
  }
  expect_refusal("fields --family ''", "--family was given an empty value");
  expect_refusal("run --model x --file ''", "--file was given an empty value");
  expect_refusal("run --model x --system '' hi", "--system was given an empty value");
  expect_refusal("eval gsm8k --model x --data y --backends ''", "--backends was given an empty");
  expect_refusal("bench moe --shape x --json ''", "--json was given an empty value");
}

// An option that would do nothing is refused: accepted and forgotten is what this project is about.
TEST(Usage, OptionsThatAModeWouldIgnoreAreRefused) {
  expect_refusal("bench moe --shapes --tokens 3 --json x",
                 "--tokens, --json do nothing beside --shapes: it lists");
  expect_refusal("eval gsm8k --score x --model y --limit 3 --json z",
                 "--model, --limit do nothing beside --score: it judges");
  const std::string tiny = "'" SLUICE_SOURCE_DIR "/demo/trinity-tiny' ";
  expect_refusal("eval gsm8k --data '" SLUICE_SOURCE_DIR
                 "/demo/problems/test.jsonl' --records "
                 "/dev/null --shots-file x --model " +
                     tiny,
                 "--shots-file x needs --shots N");
  // Which of the two is named first depends on addresses.
  expect_refusal("tokenize --model x --file y text", " excludes ");
  expect_refusal("tokenize --model x --decode --tokens [1]", " excludes ");
  expect_refusal("tokenize --model x --decode --chat [1]", " excludes ");
  expect_refusal("tokenize --model x --chat --no-special hi", " excludes ");
  expect_refusal("run --model x --file y prompt", "excludes");
  for (const std::string option : {"--top-k 3", "--top-p 0.5", "--min-p 0.1", "--seed 7"}) {
    expect_refusal("run --model x hi " + option, "does nothing at temperature 0");
    expect_refusal("run --model x --temperature 0 hi " + option, "give --temperature above 0, or");
  }
  expect_success("run --model " + tiny + "--max-new-tokens 1 --temperature 1 --top-k 3 hi");
  expect_refusal("layer --spec x --weights x --input x --out y --json y",
                 "--out and --json both name y");
}

TEST(Usage, TheWordAfterAStopTextIsThePrompt) {
  expect_success("run --model '" SLUICE_SOURCE_DIR
                 "/demo/trinity-tiny' --max-new-tokens 1 --stop a hi");
}

}  // namespace
}  // namespace sluice
