#include "audit/isolate.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>

#include "base/fail.hpp"

namespace sluice::auditing {
namespace {

std::string signal_name(int signal) {
  const char* name = sigabbrev_np(signal);
  return name != nullptr ? fmt::format("SIG{}", name) : fmt::format("signal {}", signal);
}

// The child's last line when the work itself came to its end: code that calls exit() never says it.
constexpr std::string_view kFinished = "\x04";

// Reads what the child says until it closes the pipe or time is up. False: time is up.
bool listen(int pipe, double seconds, std::string& last, bool& finished) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  std::string text;
  for (;;) {
    const auto left =
        std::chrono::duration<double, std::milli>(end - std::chrono::steady_clock::now()).count();
    if (left <= 0) return false;
    pollfd ready{pipe, POLLIN, 0};
    // A limit may be longer than poll can wait; whether it is up is seen above.
    constexpr double kSlice = 1000.0;
    const int got = poll(&ready, 1, static_cast<int>(std::min(left, kSlice)) + 1);
    if (got == 0 || (got < 0 && errno == EINTR)) continue;
    if (got < 0) fail(ErrorKind::device, "cannot wait for a child: {}", std::strerror(errno));
    char buffer[512];
    const ssize_t bytes = read(pipe, buffer, sizeof buffer);
    if (bytes <= 0) return true;
    text.append(buffer, static_cast<std::size_t>(bytes));
    for (std::size_t line = text.find('\n'); line != std::string::npos; line = text.find('\n')) {
      const std::string said = text.substr(0, line);
      text.erase(0, line + 1);
      if (said == kFinished) {
        finished = true;
      } else {
        last = said;
      }
    }
  }
}

void say(int pipe, std::string_view what) {
  const std::string line = std::string(what) + "\n";
  // Nobody listening is no reason to stop.
  [[maybe_unused]] const ssize_t written = write(pipe, line.data(), line.size());
}

// Standard output for us alone; whoever else writes to it writes to standard error from here on.
int take_standard_output() {
  const int ours = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  if (dup2(STDERR_FILENO, STDOUT_FILENO) < 0) close(STDOUT_FILENO);  // there is no standard error
  return ours;
}

void print(int file, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(file, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      fail(ErrorKind::user, "cannot write to standard output: {}", std::strerror(errno));
    }
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

// As the command line says it. Not fmt::print, which throws where standard error cannot be written.
void complain(const char* kind, const char* what) {
  std::fputs(fmt::format("sluice: error: {} ({})\n", what, kind).c_str(), stderr);
}

[[noreturn]] void be_child(const std::function<int(const Reporter&)>& work, int pipe,
                           pid_t parent) {
  // Its own group, so that whatever it starts can be ended with it. Ctrl-C does not reach it there:
  // it ends with its parent instead, or an endless loop would go on without anybody to stop it.
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(2);
  const int out = take_standard_output();
  int code = 2;
  try {
    code = work({[pipe](std::string_view what) { say(pipe, what); },
                 [out](std::string_view text) { print(out, text); }});
  } catch (const Error& error) {
    complain(to_string(error.kind()), error.what());
  } catch (const std::exception& error) {
    complain("internal", error.what());
  }
  std::fflush(nullptr);
  say(pipe, kFinished);
  _exit(code);
}

}  // namespace

Isolated run_isolated(const std::function<int(const Reporter&)>& work, double seconds) {
  int ends[2];
  if (pipe(ends) != 0) fail(ErrorKind::device, "cannot make a pipe: {}", std::strerror(errno));
  std::fflush(nullptr);  // or the child would print our buffers again
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child < 0) fail(ErrorKind::device, "cannot start a child: {}", std::strerror(errno));
  if (child == 0) {
    close(ends[0]);
    be_child(work, ends[1], parent);
  }
  close(ends[1]);
  Isolated outcome;
  bool said_so = false;
  const bool in_time = listen(ends[0], seconds, outcome.during, said_so);
  close(ends[0]);
  if (!in_time) {
    kill(-child, SIGKILL);
    kill(child, SIGKILL);
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (!in_time) {
    outcome.what = fmt::format("ran longer than {:g} s", seconds);
  } else if (WIFSIGNALED(status)) {
    outcome.what = fmt::format("crashed with {}", signal_name(WTERMSIG(status)));
  } else if (!said_so) {
    outcome.what = fmt::format("ended the process with exit code {}", WEXITSTATUS(status));
  } else {
    outcome.finished = true;
    outcome.exit_code = WEXITSTATUS(status);
  }
  return outcome;
}

}  // namespace sluice::auditing
