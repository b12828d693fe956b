// Python face of the machine: a model filled piece by piece from an image, sessions, forward.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <tuple>

#include "bindings/bindings.h"
#include "forward.h"
#include "steps/sampler.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace hardcast {

namespace {

template <class T, int kRank>
using Array = nb::ndarray<const T, nb::numpy, nb::ndim<kRank>, nb::c_contig, nb::device::cpu>;

using Names = std::map<std::string, int>;

int take(const Names& names, const char* name) {
  const auto found = names.find(name);
  if (found == names.end()) throw std::invalid_argument(std::string("missing ") + name);
  return found->second;
}

std::vector<int32_t> padded(Array<int32_t, 1> values, size_t size) {
  std::vector<int32_t> out(size, 0);
  if (values.size() > size) throw std::invalid_argument("more values than rows");
  std::copy_n(values.data(), values.size(), out.begin());
  return out;
}

// Sessions that a forward pass works on, marked so that nothing else touches them meanwhile.
class Busy {
 public:
  explicit Busy(const KvPool& pool, const std::vector<std::shared_ptr<KvCache>>& caches) {
    taken_.reserve(caches.size());
    try {
      for (const auto& cache : caches) take(pool, cache.get());
    } catch (...) {
      release();
      throw;
    }
  }
  ~Busy() { release(); }
  Busy(const Busy&) = delete;
  Busy& operator=(const Busy&) = delete;

  const std::vector<KvCache*>& caches() const { return taken_; }

 private:
  void take(const KvPool& pool, KvCache* cache) {
    if (!cache->is_of(pool)) throw std::invalid_argument("a session of another engine");
    cache->check_open();
    cache->busy = true;
    taken_.push_back(cache);
  }
  void release() {
    for (KvCache* cache : taken_) cache->busy = false;
  }
  std::vector<KvCache*> taken_;
};

// inverse temperature, candidates, top_p, seed, position
using DrawFields = std::tuple<int64_t, int, int64_t, uint64_t, uint64_t>;

// A model, and the machine that runs it once it is complete. Calls that use the machine's threads
// wait for one another.
struct NativeEngine {
  Model model;
  std::shared_ptr<KvPool> pool;
  std::unique_ptr<Machine> machine;
  std::mutex calls;

  NativeEngine(const Names& shape, const Names& points, int context, const std::string& path) {
    model.shape = {take(shape, "hidden_size"), take(shape, "intermediate_size"),
                   take(shape, "num_hidden_layers"), take(shape, "num_attention_heads"),
                   take(shape, "num_key_value_heads"), take(shape, "head_dim"),
                   take(shape, "vocab_size")};
    Points& p = model.points;
    p.residual = take(points, "residual");
    p.gain = take(points, "gain");
    p.norm_extra = take(points, "norm_extra");
    p.normed = take(points, "normed");
    p.qk = take(points, "qk");
    p.rope = take(points, "rope");
    p.score = take(points, "score");
    p.v = take(points, "v");
    p.a = take(points, "a");
    p.gate = take(points, "gate");
    p.silu = take(points, "silu");
    p.f = take(points, "f");
    p.logits = take(points, "logits");
    model.context = context;
    model.path = &find_path(path);
  }

  int add_matrix(const PackedMatrix& packed, Array<uint8_t, 1> multiplier,
                 Array<int16_t, 1> shift, int sum_bits) {
    const size_t rows = static_cast<size_t>(packed.tiles) * kTileRows;
    if (static_cast<int>(multiplier.size()) != packed.rows || shift.size() != multiplier.size()) {
      throw std::invalid_argument("one multiplier and one shift a row");
    }
    Matrix matrix{packed, {}, {}, 0, 0, sum_bits};
    matrix.multiplier.assign(multiplier.data(), multiplier.data() + multiplier.size());
    matrix.shift.assign(shift.data(), shift.data() + shift.size());
    matrix.multiplier.resize(rows, 0);
    matrix.shift.resize(rows, matrix.shift.front());
    const auto [least, most] = std::minmax_element(matrix.shift.begin(), matrix.shift.end());
    matrix.least_shift = *least;
    matrix.most_shift = *most;
    model.matrices.push_back(std::move(matrix));
    return static_cast<int>(model.matrices.size()) - 1;
  }

  int add_gain(Array<int32_t, 1> gain) {
    model.gains.push_back(padded(gain, gain.size()));
    return static_cast<int>(model.gains.size()) - 1;
  }

  int add_bias(Array<int32_t, 1> bias) {
    model.biases.push_back(padded(bias, (bias.size() + kTileRows - 1) / kTileRows * kTileRows));
    return static_cast<int>(model.biases.size()) - 1;
  }

  void set_table(const std::string& name, Array<int32_t, 1> values) {
    const std::map<std::string, std::pair<std::vector<int32_t>*, size_t>> tables = {
        {"exp2", {&model.exp2, 256}},       {"rsqrt", {&model.rsqrt, 25}},
        {"reciprocal", {&model.reciprocal, 256}},
        {"log2", {&model.log2, 257}},       {"tail", {&model.tail, 257}}};
    const auto found = tables.find(name);
    if (found == tables.end()) throw std::invalid_argument("the engine has no table " + name);
    if (values.size() != found->second.second) throw std::invalid_argument(name + ": table size");
    *found->second.first = padded(values, values.size());
  }

  int add_gate(Array<int32_t, 1> values, int range_bits) {
    if (values.size() != kGateEntries) throw std::invalid_argument("a gate's table size");
    GateTable gate{padded(values, values.size()), range_bits};
    gate.entries.push_back(gate.entries.back());
    model.gates.push_back(std::move(gate));
    return static_cast<int>(model.gates.size()) - 1;
  }

  void add_rope(Array<int16_t, 3> coarse, Array<int16_t, 3> fine) {
    model.ropes.push_back({{coarse.data(), coarse.data() + coarse.size()},
                           {fine.data(), fine.data() + fine.size()}});
  }

  void add_operation(const std::string& kind, const Names& fields, int64_t epsilon) {
    static const std::map<std::string, StepKind> kinds = {
        {"Embed", StepKind::kEmbed},   {"Norm", StepKind::kNorm},
        {"Quantize", StepKind::kQuantize}, {"HeadNorm", StepKind::kHeadNorm},
        {"Matvec", StepKind::kMatvec}, {"Rope", StepKind::kRope},
        {"KvWrite", StepKind::kKvWrite}, {"Attend", StepKind::kAttend},
        {"GateMul", StepKind::kGateMul}, {"Add", StepKind::kAdd}};
    const auto found = kinds.find(kind);
    if (found == kinds.end()) throw std::invalid_argument("the engine has no step " + kind);
    Operation op;
    op.kind = found->second;
    op.src = static_cast<Buffer>(take(fields, "src"));
    op.dst = static_cast<Buffer>(take(fields, "dst"));
    op.matrix = take(fields, "matrix");
    op.gain = take(fields, "gain");
    op.bias = take(fields, "bias");
    op.gate = take(fields, "gate");
    op.epsilon = epsilon;
    op.table = take(fields, "table");
    op.layer = take(fields, "layer");
    op.heads = take(fields, "heads");
    op.window = take(fields, "window");
    op.bits = take(fields, "bits");
    op.barrier = take(fields, "barrier") != 0;
    op.wanted = take(fields, "wanted") != 0;
    model.operations.push_back(op);
  }

  // kv_pages: bound on the pages of all sessions, -1 for none.
  void start(int threads, int kv_pages) {
    pool = std::make_shared<KvPool>(model.shape, kv_pages);
    machine = std::make_unique<Machine>(model, threads);
  }

  void check_started() const {
    if (!machine) throw std::runtime_error("start() the engine first");
  }

  // Room for counts[i] more positions in each cache, in all of them or in none.
  void reserve(const std::vector<std::shared_ptr<KvCache>>& caches,
               const std::vector<int>& counts) {
    check_started();
    if (counts.size() != caches.size()) throw std::invalid_argument("one count a session");
    const Busy busy(*pool, caches);
    std::vector<int> lengths;
    for (size_t c = 0; c < caches.size(); ++c) lengths.push_back(caches[c]->length + counts[c]);
    nb::gil_scoped_release release;
    KvCache::reserve(busy.caches(), lengths);
  }

  // Appends tokens[i] of each session in turn; wanted[i] marks rows whose logits come back.
  nb::ndarray<nb::numpy, int32_t, nb::ndim<2>> forward(
      const std::vector<std::shared_ptr<KvCache>>& caches, Array<int32_t, 1> tokens,
      Array<int32_t, 1> owners, Array<uint8_t, 1> wanted) {
    check_started();
    const Busy busy(*pool, caches);
    const size_t count = tokens.size();
    if (owners.size() != count || wanted.size() != count) {
      throw std::invalid_argument("tokens, owners and wanted differ in length");
    }
    std::vector<Row> rows(count);
    std::vector<int> lengths;
    for (const auto& cache : caches) lengths.push_back(cache->length);
    size_t kept = 0;
    for (size_t i = 0; i < count; ++i) {
      const int owner = owners.data()[i];
      if (owner < 0 || owner >= static_cast<int>(caches.size())) {
        throw std::invalid_argument("owner outside the sessions");
      }
      const int token = tokens.data()[i];
      if (token < 0 || token >= model.shape.vocab_size) {
        throw std::invalid_argument("token id outside 0.." +
                                    std::to_string(model.shape.vocab_size - 1));
      }
      rows[i] = {caches[owner].get(), token, lengths[owner]++, wanted.data()[i] != 0};
      kept += rows[i].wanted;
    }
    for (size_t c = 0; c < caches.size(); ++c) {
      if (lengths[c] > model.context) {
        throw std::invalid_argument(std::to_string(lengths[c]) + " tokens exceed context " +
                                    std::to_string(model.context));
      }
    }
    const size_t vocab = model.shape.vocab_size;
    int32_t* const out = new int32_t[std::max<size_t>(kept * vocab, 1)];
    nb::capsule owner(out, [](void* p) noexcept { delete[] static_cast<int32_t*>(p); });
    {
      nb::gil_scoped_release release;
      const std::lock_guard<std::mutex> alone(calls);
      KvCache::reserve(busy.caches(), lengths);
      if (count > 0) machine->forward(rows, out);
    }
    const size_t shape[2] = {kept, vocab};
    return nb::ndarray<nb::numpy, int32_t, nb::ndim<2>>(out, 2, shape, owner);
  }

  std::shared_ptr<KvCache> session() const {
    check_started();
    return std::make_shared<KvCache>(pool);
  }

  // used pages, limit (-1: none), bytes held
  std::tuple<int, int, size_t> kv_use() const {
    check_started();
    const KvPool::Use use = pool->use();
    return {use.used, use.limit, use.bytes};
  }

  Draw draw_of(const Array<int32_t, 1>& logits, const DrawFields& fields) const {
    if (static_cast<int>(logits.size()) != model.shape.vocab_size) {
      throw std::invalid_argument("one logit a vocabulary entry");
    }
    const auto [inverse_temperature, candidates, top_p, seed, position] = fields;
    return {logits.data(), {inverse_temperature, candidates, top_p, seed}, position};
  }

  int sample_token(Array<int32_t, 1> logits, const DrawFields& fields) const {
    const Draw draw = draw_of(logits, fields);
    nb::gil_scoped_release release;
    return sample(model, draw.logits, draw.settings, draw.position);
  }

  std::vector<int32_t> sample_batch(const std::vector<Array<int32_t, 1>>& rows,
                                    const std::vector<DrawFields>& fields) {
    check_started();
    if (rows.size() != fields.size()) throw std::invalid_argument("one draw a row of logits");
    std::vector<Draw> draws;
    for (size_t i = 0; i < rows.size(); ++i) draws.push_back(draw_of(rows[i], fields[i]));
    std::vector<int32_t> tokens(rows.size());
    nb::gil_scoped_release release;
    const std::lock_guard<std::mutex> alone(calls);
    machine->sample(draws, tokens.data());
    return tokens;
  }
};

}  // namespace

void bind_machine(nb::module_& module) {
  nb::class_<NativeEngine>(module, "NativeEngine")
      .def(nb::init<const Names&, const Names&, int, const std::string&>(), "shape"_a, "points"_a,
           "context"_a, "path"_a)
      .def_prop_ro("path", [](const NativeEngine& e) { return std::string(e.model.path->name); })
      .def("add_matrix", &NativeEngine::add_matrix, "packed"_a, "multiplier"_a, "shift"_a,
           "sum_bits"_a)
      .def("add_gain", &NativeEngine::add_gain, "gain"_a)
      .def("add_bias", &NativeEngine::add_bias, "bias"_a)
      .def("set_table", &NativeEngine::set_table, "name"_a, "values"_a)
      .def("add_rope", &NativeEngine::add_rope, "coarse"_a, "fine"_a)
      .def("add_gate", &NativeEngine::add_gate, "values"_a, "range_bits"_a)
      .def("add_operation", &NativeEngine::add_operation, "kind"_a, "fields"_a, "epsilon"_a)
      .def("start", &NativeEngine::start, "threads"_a, "kv_pages"_a)
      .def("session", &NativeEngine::session)
      .def("kv_use", &NativeEngine::kv_use)
      .def("reserve", &NativeEngine::reserve, "caches"_a, "counts"_a)
      .def("forward", &NativeEngine::forward, "caches"_a, "tokens"_a, "owners"_a, "wanted"_a,
           "int32[wanted, vocab_size]: logits of the wanted rows, in order.")
      .def("sample", &NativeEngine::sample_token, "logits"_a, "draw"_a,
           "draw: inverse temperature, candidates, top_p, seed, position.")
      .def("sample_batch", &NativeEngine::sample_batch, "rows"_a, "draws"_a);
}

}  // namespace hardcast
