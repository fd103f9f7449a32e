#include "base/fail.hpp"
#include "peer.hpp"

namespace sluice::bench {
namespace {

#ifdef SLUICE_HAVE_ONEDNN
constexpr auto kMakeOneDnn = &make_onednn_peer;
#else
constexpr std::unique_ptr<Peer> (*kMakeOneDnn)(const PeerInput&) = nullptr;
#endif
#ifdef SLUICE_HAVE_GGML
constexpr auto kMakeGgml = &make_ggml_peer;
#else
constexpr std::unique_ptr<Peer> (*kMakeGgml)(const PeerInput&) = nullptr;
#endif

constexpr PeerEntry kPeers[] = {
    {"onednn", kMakeOneDnn,
     "install oneDNN 2 (Debian: libdnnl-dev) and OpenMP, then configure and build Sluice again"},
    {"ggml", kMakeGgml,
     "build ik_llama.cpp's or upstream's ggml, then configure Sluice with "
     "-DSLUICE_GGML_DIR=<where it is installed> (docs/performance.md, How to measure)"},
};

}  // namespace

std::span<const PeerEntry> peers() { return kPeers; }

const PeerEntry* find_peer(std::string_view name) {
  if (name == "none") return nullptr;
  for (const PeerEntry& entry : kPeers) {
    if (entry.name != (name.empty() ? "onednn" : name)) continue;
    if (entry.make != nullptr) return &entry;
    if (name.empty()) return nullptr;
    fail(ErrorKind::user, "this build has no peer {}: {}", name, entry.how_to_build);
  }
  fail(ErrorKind::user, "no peer \"{}\"; there are onednn, ggml and none", name);
}

}  // namespace sluice::bench
