// Gumbel noise of one random word, as golden's `gumbel_noise`: with v = (2r + 1) / 2^33,
//     noise = -log2(-log2(1 - v))       in log2 units at 16 fraction bits
//     v < 1/2: -log2(v) - tail(v)       otherwise the log2 table twice
// 1 - v is (2 * ~r + 1) / 2^33, so one logarithm serves both cases: of r or of ~r, whichever is
// below one half. Every operand of a logarithm is normalised to have its top bit set; the 8 bits below it
// index the table, the 20 below those interpolate.
// Latency 11, throughput 1.
module hc_gumbel (
  input  logic               clk,
  input  logic               rst_n,
  input  logic               in_valid,
  input  logic [31:0]        in_word,
  output logic signed [22:0] noise
);
  /*verilator no_inline_module*/
  localparam int Latency = 11;
  logic [Latency-2:0] valid_q;  // [k]: stage k + 1 holds something
  always_ff @(posedge clk) valid_q <= rst_n ? {valid_q[Latency-3:0], in_valid} : '0;

  // Stages 1, 2: x = 2 * min(r, ~r) + 1 of 32 bits, and its top bit moved up to bit 31.
  logic [31:0] x_1;
  logic [4:0]  zeros_1, zeros_2;
  logic        far_1, far_2;
  logic [27:0] tail_1, tail_2;  // table index and rest of v itself
  logic [27:0] near_2;
  wire  [31:0] x_0 = {in_word[31] ? ~in_word[30:0] : in_word[30:0], 1'b1};
  wire  [31:0] shifted_1 = x_1 << zeros_1;
  always_ff @(posedge clk) begin
    if (in_valid) begin
      zeros_1 <= '0;
      for (int b = 0; b < 32; b++) if (x_0[b]) zeros_1 <= 5'(31 - b);
      x_1    <= x_0;
      far_1  <= in_word[31];
      tail_1 <= in_word[30:3];
    end
    if (valid_q[0]) begin
      near_2  <= shifted_1[30:3];
      zeros_2 <= zeros_1;
      far_2   <= far_1;
      tail_2  <= tail_1;
    end
  end

  // Stages 3 to 5: both tables.
  logic [24:0]     log_5, tail_5;
  logic [2:0][4:0] zeros_q;  // stages 3, 4, 5
  logic [2:0]      far_q;
  hc_interpolate #(.Tail(1'b0)) u_log (
    .clk, .rst_n, .in_valid(valid_q[1]), .index(near_2[27:20]), .rest(near_2[19:0]), .value(log_5)
  );
  hc_interpolate #(.Tail(1'b1)) u_tail (
    .clk, .rst_n, .in_valid(valid_q[1] && !far_2), .index(tail_2[27:20]), .rest(tail_2[19:0]),
    .value(tail_5)
  );
  always_ff @(posedge clk)
    if (|valid_q[3:1]) begin
      zeros_q <= {zeros_q[1:0], zeros_2};
      far_q   <= {far_q[1:0], far_2};
    end

  // Stage 6: -log2 of the smaller of v and 1 - v, above 1 and at most 33; half a unit of the last
  // rounding is added here to the near case, where there is room.
  logic [29:0]        minus_log_6;
  logic signed [25:0] minus_tail_6;
  logic               far_6;
  // Stage 7: the near case is complete; the far case's operand is normalised again.
  logic signed [31:0] near_7, near_8, near_9, near_10;
  logic [27:0]        again_7;
  logic [2:0]         zeros_6, zeros_7, zeros_8, zeros_9, zeros_10;
  logic               far_7, far_8, far_9, far_10;
  wire [29:0]         shifted_6 = minus_log_6 << zeros_6;
  always_comb begin
    zeros_6 = 3'd5;  // bit 24 is set where none above is
    for (int b = 25; b < 30; b++) if (minus_log_6[b]) zeros_6 = 3'(29 - b);
  end
  always_ff @(posedge clk) begin
    if (valid_q[4]) begin
      minus_log_6  <= {6'd2 + 6'(zeros_q[2]), 24'd0} - 30'(log_5);
      minus_tail_6 <= 26'sd128 - $signed({1'b0, tail_5});
      far_6        <= far_q[2];
    end
    if (valid_q[5]) begin
      near_7  <= $signed({2'b0, minus_log_6}) + 32'(minus_tail_6);
      again_7 <= shifted_6[28:1];
      zeros_7 <= zeros_6;
      far_7   <= far_6;
    end
  end

  // Stages 8 to 10: the second logarithm; 11: select and round.
  logic [24:0] again_10;
  hc_interpolate #(.Tail(1'b0)) u_again (
    .clk, .rst_n, .in_valid(valid_q[6] && far_7), .index(again_7[27:20]), .rest(again_7[19:0]),
    .value(again_10)
  );
  // log2(minus_log) is 5 - zeros and the fraction: minus it and half a unit.
  wire signed [31:0] far_10_value =
      $signed({{5{zeros_10 < 3'd5}}, zeros_10 - 3'd5, 24'd128}) - $signed({7'd0, again_10});
  wire signed [31:0] sum_10 = far_10 ? far_10_value : near_10;
  always_ff @(posedge clk) begin
    if (|valid_q[8:6]) begin
      {near_10, near_9, near_8}     <= {near_9, near_8, near_7};
      {zeros_10, zeros_9, zeros_8}  <= {zeros_9, zeros_8, zeros_7};
      {far_10, far_9, far_8}        <= {far_9, far_8, far_7};
    end
    if (valid_q[9]) noise <= 23'(sum_10 >>> 8);
  end

  logic unused;
  assign unused = &{1'b0, shifted_1[31], shifted_1[2:0], shifted_6[29], shifted_6[0]};
endmodule
