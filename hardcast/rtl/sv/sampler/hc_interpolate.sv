// Linear interpolation in one of the sampler's tables of 257 entries, as golden's `log2_fixed` and
// `_tail` do it:
//     value = T[index] + rs((T[index + 1] - T[index]) * rest, 20)          24 fraction bits
// A right end that the last interval reaches makes value 25 bits wide.
// Latency 3, throughput 1. The output keeps its value until the next one.
module hc_interpolate #(
  parameter bit Tail = 1'b0  // the tail table, else log2
) (
  input  logic        clk,
  input  logic        rst_n,
  input  logic        in_valid,
  input  logic [7:0]  index,
  input  logic [19:0] rest,
  output logic [24:0] value
);
  import hc_tables_pkg::*;

  logic        valid_1, valid_2;
  logic [23:0] base_1, base_2;
  logic [16:0] step_1;
  logic [19:0] rest_1;
  logic [36:0] product_2;

  always_ff @(posedge clk) begin
    {valid_2, valid_1} <= rst_n ? {valid_1, in_valid} : '0;
    if (in_valid) begin
      base_1 <= Tail ? TAIL_BASE[index] : LOG2_BASE[index];
      step_1 <= Tail ? TAIL_STEP[index] : LOG2_STEP[index];
      rest_1 <= rest;
    end
    if (valid_1) begin
      product_2 <= 37'(step_1) * 37'(rest_1);
      base_2    <= base_1;
    end
    if (valid_2) value <= 25'(base_2) + 25'(product_2[36:20]) + 25'(product_2[19]);
  end

  // Below the rounding bit nothing of the product counts.
  logic unused;
  assign unused = &{1'b0, product_2[18:0]};
endmodule
