// Chat prompts equal transformers'; what the templates' language has beyond ours is refused by
// name.
#include <fmt/format.h>

#include <string>
#include <utility>
#include <vector>

#include "tokenizer/chat_template.hpp"
#include "tokenizer/support.hpp"

namespace sluice::tokenizer {
namespace {

const ChatTokens kTokens{"<s>", "</s>", std::nullopt, std::nullopt};

std::string rendered(const std::string& source,
                     const std::vector<ChatMessage>& messages = {{"user", "Hi"}},
                     bool prompt = false) {
  return render_chat(source, kTokens, messages, prompt);
}

TEST(Chat, EveryTemplateAndConversationAsTransformers) {
  const Json golden = read_json("chat_templates/chat.json");
  int rejected = 0;
  for (const auto& [name, source] : golden["templates"].items()) {
    for (std::size_t i = 0; i < golden["conversations"].size(); ++i) {
      std::vector<ChatMessage> messages;
      for (const Json& message : golden["conversations"][i]) {
        messages.push_back(
            {message["role"].get<std::string>(), message["content"].get<std::string>()});
      }
      for (const bool prompt : {false, true}) {
        const Json& expected = golden["prompts"][name][i][prompt ? 1 : 0];
        const auto render = [&, &source = source] {
          return rendered(source.get<std::string>(), messages, prompt);
        };
        if (expected.is_null()) {
          ++rejected;
          expect_error(ErrorKind::user, "rejects these messages: roles must alternate", render);
        } else {
          EXPECT_EQ(render(), expected.get<std::string>()) << name << " " << i;
        }
      }
    }
  }
  EXPECT_EQ(rejected, 6);
}

TEST(Chat, TextOfMessagesIsNeverCode) {
  EXPECT_EQ(rendered("{% for m in messages %}{{ m.content }}{% endfor %}",
                     {{"user", "{{ 1 + 1 }}{% if %}"}}),
            "{{ 1 + 1 }}{% if %}");
}

TEST(Chat, WhatIsNotKnownIsRefusedWithItsLine) {
  const std::vector<std::pair<std::string, std::string>> cases{
      {"a\nb\n{% include 'x' %}", "line 3: tag {% include %}"},
      {"{% raw %}{% endraw %}", "tag {% raw %}"},
      {"{{ messages | tojson }}", "filter tojson on a list"},
      {"{{ messages | selectattr('role') }}", "filter selectattr"},
      {"{{ strftime_now('%Y') }}", "function strftime_now()"},
      {"{{ nothing() }}", "function nothing()"},
      {"{{ 'a'.encode() }}", "function encode()"},
      {"{{ 'a'.join(['b']) }}", "function join()"},
      {"{{ 'abc'.replace('', 'x') }}", "replace() with 2 arguments like these"},  // xaxbxcx
      {"{{ 'abc' | replace('', 'x') }}", "replace() with 2 arguments like these"},
      {"{{ messages }}", "printing a list"},
      {"{{ 1.5 }}", "number 1"},
      {"{{ 1 / 2 }}", "integer / integer"},
      {"{{ 2 ** 3 }}", "integer ** integer"},
      {"{{ 1 // 0 }}", "integer // integer"},
      {"{{ 'a' + 1 }}", "string + integer"},
      {"{{ 1 < 2 < 3 }}", "a chain of comparisons"},
      {"{{ 'a' is lower }}", "test \"is lower\""},
      {"{{ '\\x41' }}", "escape \\x"},
      {"{{ '\u00e9' | upper }}", "beyond ASCII"},
      {"{% set messages[0] = 1 %}", "\"[\" here"},
      {"{% for m in messages %}{% set m.role = 'x' %}{% endfor %}", "which is no namespace"},
      {"{% for a in 'text' %}{% endfor %}", "a loop over a string"},
      {"{% for a, b in [['x', 1, 2]] %}{% endfor %}", "a loop over 2 variables"},
      {"{% for m in messages recursive %}{% endfor %}", "recursive"},
      {"{% if true %}", "a tag without its end tag"},
      {"{% endif %}", "tag {% endif %}"},
      {"{{ 'a", "a string does not end"},
      {"{{ a", "a tag does not end"},
      {"{# a", "a comment does not end"},
      {"{{ a b }}", "\"b\" here"},
      {"{{ }}", "a tag that ends here"},
      {"{{ a ! }}", "character \"!\""}};
  for (const auto& [source, message] : cases) {
    expect_error(ErrorKind::unsupported, message, [&, &source = source] { rendered(source); });
    expect_error(ErrorKind::unsupported, "pass the prompt as plain text",
                 [&, &source = source] { rendered(source); });
  }
  // In a branch that is not taken it does no harm.
  EXPECT_EQ(rendered("{% if tools %}{{ tools | tojson }}{% endif %}ok"), "ok");
}

// As Python's, by characters.
TEST(Chat, TextIsIndexedByCharacters) {
  EXPECT_EQ(rendered("{{ 'aé日b'[1] }} {{ 'aé日b'[-2] }} {{ 'aé日b'[4] is defined }}"),
            "é 日 False");
  EXPECT_EQ(rendered("{{ 'aé日b'[1:3] }} {{ 'aé日b'[::-1] }} {{ 'aé日b'[5:] }}"), "é日 b日éa ");
  EXPECT_EQ(rendered("{{ 'abcdef'[4:0:-2] }} {{ 'abcdef'[::5] }} {{ 'abcdef'[-1:-9:-4] }}"),
            "ec af fb");
}

TEST(Chat, UndefinedValuesAreOfNoUse) {
  expect_error(ErrorKind::user, "tool_calls is undefined and has no attribute name",
               [] { rendered("{{ messages[0].tool_calls.name }}"); });
  EXPECT_EQ(rendered("<{{ messages[0].tool_calls }}{{ pad_token }}>"), "<>");
}

TEST(Chat, HostileTemplatesEndWithAnError) {
  const std::string deep =
      fmt::format("{{{{ {}1{} }}}}", std::string(5000, '('), std::string(5000, ')'));
  expect_error(ErrorKind::unsupported, "nested deeper than 100", [&] { rendered(deep); });
  expect_error(ErrorKind::unsupported, "a long run of signs",
               [] { rendered(fmt::format("{{{{ {}1 }}}}", std::string(5000, '-'))); });
  std::string ifs;
  for (int i = 0; i < 5000; ++i) ifs += "{% if true %}";
  expect_error(ErrorKind::unsupported, "more than 100 nested tags", [&] { rendered(ifs); });
  for (const std::string link :
       {"+1", "|trim", ".a", "[0]", "()", " or 1", "~1", " if 1", " is none"}) {
    std::string chain = "{{ 1";
    for (int i = 0; i < 5000; ++i) chain += link;
    expect_error(ErrorKind::unsupported, "an expression", [&] { rendered(chain + " }}"); });
  }
  expect_error(ErrorKind::unsupported, "more than 1000000 steps", [] {
    rendered("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}");
  });
  expect_error(ErrorKind::unsupported, "a range longer than",
               [] { rendered("{{ range(999999999) | length }}"); });
  expect_error(ErrorKind::unsupported, "text longer than 64 MiB", [] {
    rendered(
        "{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x "
        "%}{% endfor %}");
  });
  // 2 MiB of one letter, and what is made of it.
  const std::string big =
      "{% set ns = namespace(x='a') %}{% for i in range(21) %}{% set ns.x = ns.x ~ ns.x %}"
      "{% endfor %}";
  expect_error(ErrorKind::unsupported, "text longer than 64 MiB",
               [&] { rendered(big + "{{ ns.x | replace('a', ns.x) }}"); });
  expect_error(ErrorKind::unsupported, "split() into more than 100000 parts",
               [&] { rendered(big + "{{ ns.x.split('a') }}"); });
  EXPECT_EQ(rendered(big + "{{ ns.x[0] }}{{ (ns.x ~ 'b')[-1] }}{{ (ns.x ~ 'b')[:-3:-1] }}"),
            "abba");
  // Compared anew at each of a million places, a million letters would take hours.
  EXPECT_EQ(rendered(big + "{{ (ns.x[:1000000] ~ 'b') in ns.x }}"), "False");
  expect_error(ErrorKind::unsupported, "nested deeper than 16", [] {
    rendered(
        "{% set ns = namespace(x=[]) %}{% for i in range(99) %}{% set ns.x = [ns.x] %}{% endfor "
        "%}");
  });
  expect_error(ErrorKind::unsupported, "a namespace inside",
               [] { rendered("{% set ns = namespace() %}{% set ns.x = [ns] %}"); });
  expect_error(ErrorKind::unsupported, "calls itself this deep",
               [] { rendered("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"); });
  expect_error(ErrorKind::checkpoint, "the limit is 1048576",
               [] { rendered(std::string(1 << 21, 'a')); });
}

std::string repeated(const std::string& text, int count) {
  std::string all;
  for (int i = 0; i < count; ++i) all += text;
  return all;
}

// Each took minutes to days, or all memory: copies and comparisons that no step paid for.
TEST(Chat, WhatIsCopiedAndComparedCounts) {
  const std::string spaces = repeated(" ", 500'000);
  const std::string loop = "{% for i in range(90000) %}";
  for (const std::string& endless :
       {"{% set f = '" + spaces + "'.split %}" + loop + "{% set x = f('b') %}{% endfor %}",
        "{% set x = ['" + spaces + "'] %}" + loop + "{% set y = x[:] %}{% endfor %}",
        "{% set x = ['" + spaces + "'] %}" + loop + "{% for y in x %}{% endfor %}{% endfor %}",
        loop + "{% set x %}" + spaces + "{% endset %}{% endfor %}",
        "{% set a = range(99) | list %}{% set b = range(99) | list %}" +
            repeated("{% set a = [" + repeated("a,", 99) + "] %}{% set b = [" + repeated("b,", 99) +
                         "] %}",
                     8) +
            "{{ a == b }}"}) {
    expect_error(ErrorKind::unsupported, "more than 1000000 steps", [&] { rendered(endless); });
  }
  expect_error(ErrorKind::unsupported, "a list this long", [&] {
    rendered("{% set x = ['" + spaces + "'] %}" + repeated("{% set x = x + x %}", 20));
  });
  EXPECT_EQ(
      rendered("{{ '" + repeated("a", 500'000) + "'.strip('" + repeated("b", 500'000) + "a') }}"),
      "");
}

TEST(Chat, NamesAreFew) {
  std::string keys, keywords, parameters, variables;
  for (int i = 0; i < 2000; ++i) {
    keys += fmt::format("'k{}': 1,", i);
    keywords += fmt::format("k{}=1,", i);
    parameters += fmt::format("k{},", i);
    variables += fmt::format("{{% set ns.k{} = 1 %}}", i);
  }
  for (const std::string& text :
       {"{{ {" + keys + "} }}", "{% set ns = namespace() %}" + variables}) {
    expect_error(ErrorKind::unsupported, "a mapping of more than 1000 keys",
                 [&] { rendered(text); });
  }
  expect_error(ErrorKind::unsupported, "a call with this many arguments",
               [&] { rendered("{{ namespace(" + keywords + ") }}"); });
  expect_error(ErrorKind::unsupported, "a macro with this many arguments",
               [&] { rendered("{% macro f(" + parameters + ") %}{% endmacro %}"); });
  expect_error(ErrorKind::unsupported, "a key longer than 4096 bytes",
               [] { rendered("{{ {'" + repeated("k", 5000) + "': 1} }}"); });
}

}  // namespace
}  // namespace sluice::tokenizer
