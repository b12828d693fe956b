// Philox 4x32-10: four random words for the counter {position, 0, counter}, as golden's `philox`.
// keys[r] is round r's key: seed + r * {BB67AE85, 9E3779B9} by halves; it may arrive up to 3r
// cycles after the counter.
// Latency 30, throughput 1. Outputs keep their value until the next one.
module hc_philox (
  input  logic                  clk,
  input  logic                  rst_n,
  input  logic [9:0][1:0][31:0] keys,
  input  logic [63:0]           position,
  input  logic                  in_valid,
  input  logic [31:0]           counter,
  output logic                  out_valid,
  output logic [3:0][31:0]      words
);
  /*verilator no_inline_module*/
  logic [10:0]            valid;
  logic [10:0][3:0][31:0] state;
  assign valid[0] = in_valid;
  assign state[0] = {position[63:32], position[31:0], 32'd0, counter};
  for (genvar r = 0; r < 10; r++) begin : gen_round
    hc_philox_round u_round (
      .clk,
      .rst_n,
      .key      (keys[r]),
      .in_valid (valid[r]),
      .in_words (state[r]),
      .out_valid(valid[r+1]),
      .out_words(state[r+1])
    );
  end
  assign out_valid = valid[10];
  assign words     = state[10];
endmodule
