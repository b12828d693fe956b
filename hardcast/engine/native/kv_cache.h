// Keys and values of one session: int8 codes and one exponent a head and position.

#pragma once

#include <cstdint>
#include <vector>

#include "model.h"

namespace hardcast {

// Grows by doubling up to the image's context. Rows of one head lie together: attention streams.
class KvCache {
 public:
  struct Layer {
    std::vector<int8_t> keys, values;                // [kv heads][capacity][head_dim]
    std::vector<uint8_t> key_exponents, value_exponents;  // [kv heads][capacity]
  };

  explicit KvCache(const Shape& shape, int context)
      : heads_(shape.num_key_value_heads), dim_(shape.head_dim), context_(context),
        layers_(shape.num_hidden_layers) {}

  int length = 0;  // positions written

  // Room for `positions` in every layer. Throws std::bad_alloc; the cache is unchanged then.
  void reserve(int positions);

  size_t row(int head, int position) const {
    return static_cast<size_t>(head) * capacity_ + position;
  }
  Layer& layer(int index) { return layers_[index]; }
  const Layer& layer(int index) const { return layers_[index]; }

 private:
  int heads_, dim_, context_, capacity_ = 0;
  std::vector<Layer> layers_;
};

}  // namespace hardcast
