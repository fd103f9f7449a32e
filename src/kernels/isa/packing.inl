// Rows from one format to another, and tokens' rows into a kernel's layout. Included by
// elementwise.inl, inside its anonymous namespace.

// `count` elements from `from` on.
SLUICE_INLINE void convert_part(const void* from, RowFormat from_format, const Destination& to,
                                RowFormat to_format, float scale, long count) {
  const long bytes = element_bytes(to_format);
  Cursor at(to, 0, bytes);
  for (long i = 0; i < count; i += kBlock) {
    const long now = count - i < kBlock ? count - i : kBlock;
    Block block = get(from, from_format, i, now);
    for (int p = 0; p < kParts; ++p) block.part[p] *= scale;
    Stored stored;
    encode(block, to_format, stored);
    put(stored, bytes, at, now);
  }
}

void convert(const ConvertJob& job) {
  convert_part(job.from, job.from_format, {static_cast<char*>(job.to), 0, 0}, job.to_format,
               job.scale, job.count);
}

// The bits themselves.
SLUICE_INLINE void copy_part(const char* from, long bytes, const Destination& to, long count) {
  Cursor at(to, 0, bytes);
  for (long i = 0; i < count; i += kBlock) {
    const long now = count - i < kBlock ? count - i : kBlock;
    Stored stored{};
    const char* source = from + i * bytes;
    if (bytes == 4) {
      copy_elements<4>(stored.bytes, source, now);
    } else {
      copy_elements<2>(stored.bytes, source, now);
    }
    put(stored, bytes, at, now);
  }
}

// Whether elements go into the tile as they are.
SLUICE_INLINE bool as_is(const PackJob& job) {
  return job.from_format == job.to_format && job.scales == nullptr;
}

SLUICE_INLINE void pack_part(const PackJob& job, long token, long first, long count,
                             const Destination& to) {
  const long bytes = element_bytes(job.to_format);
  const char* from =
      static_cast<const char*>(job.rows[token]) + first * element_bytes(job.from_format);
  if (as_is(job)) {
    copy_part(from, bytes, to, count);
  } else {
    convert_part(from, job.from_format, to, job.to_format,
                 job.scales != nullptr ? job.scales[token] : 1.0f, count);
  }
}

constexpr long kLine = 64;

// Whole lines as they are.
void pack_lines(const PackJob& job) {
  const long groups = job.cols / job.group;
  const long stride = job.tokens * kLine;
  for (long t = 0; t < job.tokens; ++t) {
    const char* from = static_cast<const char*>(job.rows[t]);
    char* to = static_cast<char*>(job.to) + t * kLine;
    for (long group = 0; group < groups; ++group) {
      __builtin_memcpy(to + group * stride, from + group * kLine, kLine);
    }
  }
}

// Few columns of all tokens at a time: they fill the same cache lines.
void pack(const PackJob& job) {
  constexpr long kColumns = 64;  // whole groups of every layout
  const long group_bytes = job.group * element_bytes(job.to_format);
  if (as_is(job) && group_bytes == kLine && job.cols % job.group == 0) return pack_lines(job);
  const long stride = job.tokens * group_bytes;
  const bool turns = job.tokens >= kTurned && group_bytes == 4;
  alignas(64) char rows[kMostTileTokens][kColumns * 4];
  if (turns && job.cols % job.group != 0) __builtin_memset(rows, 0, sizeof rows);  // the padding
  auto* to = static_cast<char*>(job.to);
  for (long first = 0; first < job.cols; first += kColumns) {
    const long count = job.cols - first < kColumns ? job.cols - first : kColumns;
    for (long t = 0; t < job.tokens; ++t) {
      const Destination in_tile{to + t * group_bytes, job.group, stride};
      pack_part(job, t, first, count, turns ? Destination{rows[t], 0, 0} : in_tile);
    }
    if (turns) {
      interleave_words(rows[0], sizeof rows[0], (count + job.group - 1) / job.group, job.tokens, to,
                       stride);
    }
    to += kColumns / job.group * stride;
  }
}
