// The audit of a backend whose memory the host cannot touch: nothing less is seen.
#include <gtest/gtest.h>

#include <cstring>

#include "backends/fake_device.hpp"
#include "base/element.hpp"
#include "small_audit.hpp"

namespace sluice::auditing {
namespace {

using test::FakeBackend;

TEST(DeviceAudit, PassesACorrectBackend) {
  const FakeBackend fake;
  const AuditReport report = audit(fake, quick_options());
  EXPECT_TRUE(report.ok()) << audit_text(report);
  EXPECT_EQ(report.backend, "fake");
}

TEST(DeviceAudit, FaultsAreInjectedBehindTheCopies) {
  const FakeBackend fake;
  for (const char* fault : {"drop:routed_scaling_factor", "double:routed_scaling_factor"}) {
    const auto faulty = inject(fake, fault);
    const AuditReport report = audit(*faulty, quick_options());
    ASSERT_FALSE(report.ok()) << fault;
    EXPECT_EQ(report.failures.front().field, "router.routed_scaling_factor");
  }
}

// What the backend does to the device's memory after it has computed the right answer.
using Sabotage =
    std::function<void(const ForwardInput&, const ForwardOutput&, std::span<std::byte>)>;

AuditReport audit_of(Sabotage sabotage) {
  FakeBackend fake;
  fake.afterwards = std::move(sabotage);
  AuditOptions options = quick_options();
  options.suite.assign(1, 'J');
  options.rounds = 1;
  options.diagnose = false;
  return audit(fake, options);
}

void expect_message(const AuditReport& report, const std::string& part) {
  ASSERT_FALSE(report.ok()) << part;
  for (const AuditFailure& failure : report.failures) {
    if (failure.message.find(part) != std::string::npos) return;
  }
  ADD_FAILURE() << "no failure says: " << part << "\n" << report.failures.front().message;
}

std::size_t output_bytes(const MutableTensorView& output) {
  return static_cast<std::size_t>(output.shape.elements() * bits(output.dtype) / 8);
}

TEST(DeviceAudit, SeesWritesBesideTheOutput) {
  expect_message(audit_of([](const auto&, const ForwardOutput& output, auto) {
                   static_cast<std::byte*>(output.output.data)[output_bytes(output.output)] ^=
                       std::byte{1};
                 }),
                 "after output");
  expect_message(audit_of([](const auto&, const auto&, std::span<std::byte> workspace) {
                   *(workspace.data() + workspace.size()) ^= std::byte{1};
                 }),
                 "after the workspace");
}

TEST(DeviceAudit, SeesChangedInputs) {
  expect_message(audit_of([](const ForwardInput& input, const auto&, auto) {
                   auto* hidden =
                       static_cast<std::byte*>(const_cast<void*>(input.hidden_states.data));
                   if (input.hidden_states.shape[0] > 0) hidden[0] ^= std::byte{1};
                 }),
                 "changed hidden_states");
}

// The poison is there: an element that is not written shows as what was there before.
TEST(DeviceAudit, SeesElementsThatAreNotWritten) {
  const auto report = audit_of([](const auto&, const ForwardOutput& output, auto) {
    const std::size_t bytes = output_bytes(output.output);
    if (bytes > 0) std::memset(static_cast<std::byte*>(output.output.data) + bytes - 2, 0xff, 2);
  });
  EXPECT_FALSE(report.ok());
}

// Reads what the last call left in the workspace: right over fresh memory, wrong over dirty memory.
TEST(DeviceAudit, SeesStateThatIsKeptInTheWorkspace) {
  const auto report = audit_of([](const auto&, const ForwardOutput& output, auto workspace) {
    if (workspace.empty() || output.output.shape.elements() == 0) return;
    std::byte& last = workspace.back();
    if (last == std::byte{0x77}) {
      store_float(output.output.data, output.output.dtype, 0, 12345.0f);
    }
    last = std::byte{0x77};
  });
  expect_message(report, "a second run over the memory that the first one left");
}

}  // namespace
}  // namespace sluice::auditing
