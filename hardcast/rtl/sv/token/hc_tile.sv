// One tile: R rows x K columns of multiply-select-add lanes beside one ROM word a cycle, for U users.
//
// A unit is a block of 64 inputs for R rows: R cycles of K columns each. `first` and `last` mark its
// ends, `half` the end of its first group when a scale serves 32 inputs (G = 2). A row's sum then
// passes the shared scale unit, one row a cycle, while the next unit is swept:
//     y[row] = (sum over groups of s_g * sum(c[q] x) + m_g * sum(x)) << shift    modulo 2^ACC_W
// Word n of a unit holds, above its R*K codes, the scales (and offsets) of row n of the same unit.
// x and word of a step arrive together; xsum and shift are those of the unit, read with its last step.
// Latency: row n of a unit whose step 0 arrives in cycle a is on y in cycle a + n + R + 5.
module hc_tile
  import hardcast_pkg::*;
(
  input  logic                        clk,
  input  logic                        rst_n,
  input  logic                        valid,
  input  logic                        first,
  input  logic                        half,
  input  logic                        last,
  input  logic [CB_AW-1:0]            codebook,
  input  logic [ROM_W-1:0]            word,
  input  logic [U-1:0][K*8-1:0]       x,
  input  logic [U-1:0][5:0]           shift,
  input  logic [U-1:0][G*XSUM_W-1:0]  xsum,
  output logic [U-1:0][ACC_W-1:0]     y
);
  /*verilator no_inline_module*/
  localparam int SCALE_W = ROM_W - 64 * B;
  localparam int LEVELS = levels();  // of carry-save adders over K numbers

  // Stage A: word and activations stand still for a cycle while the multiples form.
  logic             valid_a, first_a, half_a, last_a;
  logic [CB_AW-1:0] cb_a;
  logic [64*B-1:0]  codes_a;
  logic [U-1:0][K*8-1:0] x_a;
  always_ff @(posedge clk) begin
    valid_a <= valid & rst_n;
    first_a <= first;
    half_a  <= half;
    last_a  <= last & valid & rst_n;
    if (valid) begin
      cb_a    <= codebook;
      codes_a <= word[64*B-1:0];
      x_a     <= x;
    end
  end

  // Scales wait until their row drains.
  logic [SCALE_W-1:0] scale_d;
  logic               drain;
  hc_delay #(.W(SCALE_W), .N(R + 2)) u_scale (.clk, .rst_n, .d(word[ROM_W-1:64*B]), .q(scale_d));
  hc_delay #(.W(1), .N(R + 2), .RESET(1)) u_drain (.clk, .rst_n, .d(valid), .q(drain));

  // Stage B: every row adds the K multiples that its codes select.
  logic valid_b, first_b, half_b, last_b;
  always_ff @(posedge clk) begin
    valid_b <= valid_a & rst_n;
    first_b <= first_a;
    half_b  <= half_a;
    last_b  <= last_a & rst_n;
  end

  logic drain_1, drain_2;
  always_ff @(posedge clk) begin
    drain_1 <= drain & rst_n;
    drain_2 <= drain_1 & rst_n;
  end

  for (genvar u = 0; u < U; u++) begin : g_user
    logic signed [SUM_W-1:0] partial[R];  // of the K multiples a row selected
    logic signed [SUM_W-1:0] acc[R];
    logic signed [SUM_W-1:0] wait0[G > 1 ? R : 1];
    logic signed [SUM_W-1:0] out0[R];
    logic signed [SUM_W-1:0] out1[G > 1 ? R : 1];
    logic [5:0]              shift_a, shift_b, shift_c;
    logic [G*XSUM_W-1:0]     xsum_a, xsum_b, xsum_c;

`ifdef HC_SELECT
    // The lane as it is synthesised: the 2^B multiples of an activation form once, a lane selects.
    logic signed [K-1:0][(1<<B)-1:0][MULT_W-1:0] multiples;
    always_comb
      for (int k = 0; k < K; k++)
        for (int q = 0; q < (1 << B); q++) begin
          multiples[k][q] = '0;
          for (int cb = 0; cb < CODEBOOKS; cb++)
            if (cb_a == CB_AW'(cb))
              multiples[k][q] = MULT_W'(codebook_value(cb * (1 << B) + q))
                                        * MULT_W'($signed(x_a[u][k*8 +: 8]));
        end

    // A partial sum is kept as two numbers, what carry-save adders make of the K multiples: stage C
    // has time for the addition that makes it one.
    for (genvar r = 0; r < R; r++) begin : g_row
      for (genvar l = 0; l <= LEVELS; l++) begin : g_level
        localparam int N = terms(l);
        logic [N-1:0][SUM_W-1:0] t;
        if (l == 0) begin : g_select
          always_comb
            for (int k = 0; k < K; k++)
              t[k] = SUM_W'($signed(multiples[k][codes_a[(r*K+k)*B +: B]]));
        end else begin : g_add
          localparam int BELOW = terms(l - 1);
          for (genvar i = 0; i < BELOW / 3; i++) begin : g_three
            wire [SUM_W-1:0] a = g_level[l-1].t[3*i];
            wire [SUM_W-1:0] b = g_level[l-1].t[3*i+1];
            wire [SUM_W-1:0] c = g_level[l-1].t[3*i+2];
            assign t[2*i]   = a ^ b ^ c;
            assign t[2*i+1] = {(a & b) | (a & c) | (b & c)} << 1;
          end
          for (genvar i = BELOW / 3 * 2; i < N; i++) begin : g_rest
            assign t[i] = g_level[l-1].t[i+BELOW/3];
          end
        end
      end
      logic [1:0][SUM_W-1:0] sums;
      always_ff @(posedge clk) if (valid_a) sums <= (2*SUM_W)'(g_level[LEVELS].t);
      assign partial[r] = sums[0] + sums[1];
    end
`else
    always_ff @(posedge clk)
      if (valid_a)
        for (int r = 0; r < R; r++) begin
          automatic logic signed [SUM_W-1:0] s = '0;
          for (int k = 0; k < K; k++)
            s += SUM_W'(CODEBOOK[{cb_a, codes_a[(r*K+k)*B +: B]}]) * SUM_W'($signed(x_a[u][k*8 +: 8]));
          partial[r] <= s;
        end
`endif

    always_ff @(posedge clk) begin
      if (last) begin
        shift_a <= shift[u];
        xsum_a  <= xsum[u];
      end
      shift_b <= shift_a;
      xsum_b  <= xsum_a;
    end

    // Stage C: accumulate; a finished unit moves to the drain.
    always_ff @(posedge clk) begin
      if (valid_b) begin
        for (int r = 0; r < R; r++) begin
          automatic logic signed [SUM_W-1:0] s = (first_b ? '0 : acc[r]) + partial[r];
          acc[r] <= (G > 1 && half_b) ? '0 : s;
          if (G > 1 && half_b) wait0[r % $size(wait0)] <= s;
          if (last_b) begin
            if (G > 1) begin
              out0[r] <= wait0[r % $size(wait0)];
              out1[r % $size(out1)] <= s;
            end else out0[r] <= s;
          end
        end
        if (last_b) begin
          shift_c <= shift_b;
          xsum_c  <= xsum_b;
        end
      end
      if (drain && !(valid_b && last_b)) begin
        for (int r = 0; r + 1 < R; r++) begin
          out0[r] <= out0[r+1];
          if (G > 1) out1[r % $size(out1)] <= out1[(r+1) % $size(out1)];
        end
      end
    end

    // Scale unit, shared by the rows.
    logic signed [SUM_W+8:0]   scaled0, scaled1;
    logic signed [XSUM_W+15:0] offset0, offset1;
    logic signed [PART_W-1:0]  part;
    logic [5:0]                shift_d, shift_e;
    logic signed [SUM_W-1:0]   row1;
    assign row1 = out1[0];
    always_ff @(posedge clk) begin
      if (drain) begin
        scaled0 <= out0[0] * $signed({1'b0, scale_d[7:0]});
        offset0 <= offset(scale_d, 0) * $signed(xsum_c[0 +: XSUM_W]);
        if (G > 1) begin
          scaled1 <= row1 * $signed({1'b0, scale_d[(G-1)*8 +: 8]});
          offset1 <= offset(scale_d, G - 1) * $signed(xsum_c[(G-1)*XSUM_W +: XSUM_W]);
        end else begin
          scaled1 <= '0;
          offset1 <= '0;
        end
        shift_d <= shift_c;
      end
      if (drain_1) begin
        part    <= PART_W'(scaled0) + PART_W'(scaled1) + PART_W'(offset0) + PART_W'(offset1);
        shift_e <= shift_d;
      end
      if (drain_2) y[u] <= ACC_W'(part) << shift_e;
    end
  end

  // K numbers after so many levels, each of which makes threes of them twos.
  function automatic int terms(input int level);
    automatic int n = K;
    for (int l = 0; l < level; l++) n -= n / 3;
    return n;
  endfunction
  function automatic int levels();
    automatic int l = 0;
    while (terms(l) > 2) l++;
    return l;
  endfunction

  // The offset of group g; 0 where the ROM has none.
  function automatic logic signed [15:0] offset(input logic [SCALE_W-1:0] scales, input int g);
    return (ASYM != 0) ? 16'(scales >> (G * 8 + g * 16)) : '0;
  endfunction
endmodule
