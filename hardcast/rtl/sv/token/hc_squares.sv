// Sum of squares of TR 16-bit codes a cycle, each block's scaled by its exponent: v += sum << 2 exp.
// The last word's total goes through hc_rsqrt. Latency ceil(log4 SEG) + 4 from a word to v.
module hc_squares
  import hardcast_pkg::*;
#(
  parameter int LANES = 1,
  parameter int SEG = 1,
  parameter int NB = LANES / SEG
) (
  input  logic                   clk,
  input  logic                   rst_n,
  input  logic                   in_valid,
  input  logic                   in_first,   // of the vector
  input  logic                   in_last,
  input  logic [63:0]            epsilon,
  input  logic [LANES-1:0][15:0] codes,
  input  logic [NB-1:0][4:0]     exps,
  output logic                   out_valid,
  output logic [V_W-1:0]         v
);
  localparam int LS = $clog2(SEG);
  localparam int STAGES = (LS + 1) / 2;  // of the adder tree: SEG is a power of two
  localparam int SQ_W = 31 + LS;
  logic valid_1;
  logic [NB-1:0][4:0] exps_1, exps_s;
  logic valid_s, first_s, last_s;
  logic [LANES*SQ_W-1:0] square;
  logic [NB-1:0][SQ_W-1:0] sum_s;
  always_ff @(posedge clk) begin
    valid_1 <= in_valid && rst_n;
    if (in_valid) begin
      for (int i = 0; i < LANES; i++)
        square[i*SQ_W +: SQ_W] <= SQ_W'(32'($signed(codes[i])) * 32'($signed(codes[i])));
      exps_1 <= exps;
    end
  end
  for (genvar b = 0; b < NB; b++) begin : g_block
    hc_sum #(.N(SEG), .W(SQ_W)) u_sum (
      .clk, .en(valid_1), .d(square[b*SEG*SQ_W +: SEG*SQ_W]), .q(sum_s[b])
    );
  end
  hc_delay #(.W(NB * 5), .N(STAGES)) u_exps (.clk, .rst_n, .d(exps_1), .q(exps_s));
  hc_delay #(.W(1), .N(STAGES + 1), .RESET(1)) u_valid (.clk, .rst_n, .d(in_valid), .q(valid_s));
  hc_delay #(.W(2), .N(STAGES + 1)) u_ctl (
    .clk, .rst_n, .d({in_first, in_last}), .q({first_s, last_s})
  );

  logic valid_2, first_2, last_2, done_3;
  logic [V_W-1:0] word_2, v_3;
  always_ff @(posedge clk) begin
    valid_2 <= valid_s && rst_n;
    {first_2, last_2} <= {first_s, last_s};
    done_3 <= valid_2 && last_2 && rst_n;
    out_valid <= done_3 && rst_n;
    if (valid_s) begin
      automatic logic [V_W-1:0] t = '0;
      for (int b = 0; b < NB; b++) t = t + (V_W'(sum_s[b]) << {exps_s[b], 1'b0});
      word_2 <= t;
    end
    if (valid_2) v_3 <= word_2 + (first_2 ? V_W'(epsilon) : v_3);
    if (done_3) v <= v_3 == '0 ? V_W'(1) : v_3;
  end
endmodule
