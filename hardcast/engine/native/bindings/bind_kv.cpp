// Python face of the sessions' memory: KvCache, the pool's use, KvFull.

#include <nanobind/nanobind.h>
#include <nanobind/stl/shared_ptr.h>

#include <stdexcept>
#include <string>

#include "bindings/bindings.h"
#include "kv/kv_cache.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace hardcast {

namespace {

// Positions to keep or to share, once it is certain that the session has them.
int checked(const KvCache& cache, int positions, const char* what) {
  cache.check_open();
  if (positions < 0 || positions > cache.length) {
    throw std::invalid_argument("cannot " + std::string(what) + " " +
                                std::to_string(cache.length) + " positions " +
                                (what[0] == 'f' ? "at " : "to ") + std::to_string(positions));
  }
  return positions;
}

}  // namespace

void bind_kv(nb::module_& module) {
  nb::exception<KvFull>(module, "KvFull", nb::module_::import_("hardcast.errors").attr("HardcastError"));
  nb::class_<KvCache>(module, "KvCache")
      .def_ro("length", &KvCache::length)
      .def("fork", [](const KvCache& cache, int length) {
        return cache.fork(checked(cache, length, "fork"));
      }, "length"_a, "The first `length` positions as a cache of their own, the pages shared.")
      .def("truncate", [](KvCache& cache, int length) {
        cache.truncate(checked(cache, length, "truncate"));
      }, "length"_a)
      .def("close", [](KvCache& cache) {
        if (cache.closed) return;
        cache.check_open();
        cache.truncate(0);
        cache.closed = true;
      });
  module.attr("KV_PAGE") = kKvPage;
}

}  // namespace hardcast
