// A tile's unit, stage by stage, from any state: what was swept in comes out as
//     y[row] = (sum over groups of s_g * S_g + m_g * X_g) << shift    modulo 2^ACC_W
// Assumed: the sequencer's protocol (the R steps of a unit follow one another; first, half and last
// mark its ends), and no reset. Every stage's claim starts from what the stage before holds, so that
// together they lead from the inputs to y.
module f_tile
  import hardcast_pkg::*;
#(
  parameter int PART = 0  // 0: the sweep; 1: the scale unit
) (
  input logic                       clk,
  input logic                       valid,
  input logic                       first,
  input logic                       half,
  input logic                       last,
  input logic [CB_AW-1:0]           codebook,
  input logic [ROM_W-1:0]           word,
  input logic [U-1:0][K*8-1:0]      x,
  input logic [U-1:0][5:0]          shift,
  input logic [U-1:0][G*XSUM_W-1:0] xsum
);
  localparam int N = 2 * R + 1;  // cycles of history
  localparam int SCALE_W = ROM_W - 64 * B;
  logic [U-1:0][ACC_W-1:0] y;
  hc_tile tile (.*, .rst_n(1'b1));

  logic [5:0] age = '0;
  always_ff @(posedge clk) if (age != 6'(N)) age <= age + 1'b1;

  // The protocol.
  logic [5:0] step;
  always_ff @(posedge clk) if (valid) step <= step == 6'(R - 1) ? '0 : step + 1'b1;
  always_comb begin
    assume (step < 6'(R));
    assume (valid || step == 0);
    if (valid) begin
      assume (first == (step == 0));
      assume (half == (step == 6'(R / 2 - 1)));
      assume (last == (step == 6'(R - 1)));
    end
  end

  // What came in n cycles ago.
  logic [N:0]                       valids;
  logic [N:0]                       firsts;
  logic [ROM_W-1:0]                 words[N+1];
  logic [U-1:0][K*8-1:0]            xs[N+1];
  logic [U-1:0][5:0]                shifts[N+1];
  logic [U-1:0][G*XSUM_W-1:0]       xsums[N+1];
  logic [CB_AW-1:0]                 codebooks[N+1];
  assign valids[0] = valid;
  assign firsts[0] = valid && first;
  assign words[0] = word;
  assign xs[0] = x;
  assign shifts[0] = shift;
  assign xsums[0] = xsum;
  assign codebooks[0] = codebook;
  always_ff @(posedge clk)
    for (int i = 1; i <= N; i++) begin
      valids[i]    <= valids[i-1];
      firsts[i]    <= firsts[i-1];
      words[i]     <= words[i-1];
      xs[i]        <= xs[i-1];
      shifts[i]    <= shifts[i-1];
      xsums[i]     <= xsums[i-1];
      codebooks[i] <= codebooks[i-1];
    end

  for (genvar u = 0; u < U; u++) begin : g_user
    logic signed [SUM_W-1:0] partials[R][R+1];  // of a row, n cycles ago
    logic signed [SUM_W-1:0] products[R];
    always_comb
      for (int r = 0; r < R; r++) begin
        products[r] = '0;
        for (int k = 0; k < K; k++)
          products[r] += SUM_W'(CODEBOOK[{tile.cb_a, tile.codes_a[(r*K+k)*B +: B]}])
                         * SUM_W'($signed(tile.x_a[u][k*8 +: 8]));
      end
    logic signed [SUM_W-1:0] products_1[R];
    always_ff @(posedge clk)
      for (int r = 0; r < R; r++) begin
        products_1[r] <= products[r];
        for (int i = 0; i <= R; i++)
          partials[r][i] <= i == 0 ? tile.g_user[u].partial[r] : partials[r][i == 0 ? 0 : i-1];
      end

    if (PART == 0) begin : g_sweep
      always_comb begin
        // Stage A holds a step's word and activations; stage B adds their products.
        if (age >= 1 && valids[1]) begin
          assert (tile.codes_a == words[1][64*B-1:0]);
          assert (tile.cb_a == codebooks[1]);
          assert (tile.x_a[u] == xs[1][u]);
        end
        if (age >= 2 && valids[2])
          for (int r = 0; r < R; r++) assert (tile.g_user[u].partial[r] == products_1[r]);
        // Row n of a unit that began R + 2 + n cycles ago waits for the scale unit.
        for (int n = 0; n < R; n++)
          if (age >= 6'(R + 2 + n) && firsts[R+2+n]) begin
            assert (tile.drain);
            assert (tile.scale_d == words[R+2][ROM_W-1:64*B]);
            assert (tile.g_user[u].shift_c == shifts[n+3][u]);
            assert (tile.g_user[u].xsum_c == xsums[n+3][u]);
          end
      end
      // A unit's sums: partial sums are added as they come, and stand when the last is in.
      for (genvar n = 0; n < R; n++) begin : g_row
        logic signed [SUM_W-1:0] low, high;
        logic signed [SUM_W-1:0] lows[n+1], highs[n+1];
        always_comb begin
          low = '0;
          high = '0;
          for (int j = 0; j < R; j++)
            if (G > 1 && j < R / 2) low += partials[n][R-1-j];
            else high += partials[n][R-1-j];
        end
        always_ff @(posedge clk)
          for (int i = 0; i <= n; i++) begin
            lows[i]  <= i == 0 ? low : lows[i == 0 ? 0 : i-1];
            highs[i] <= i == 0 ? high : highs[i == 0 ? 0 : i-1];
          end
        wire signed [SUM_W-1:0] low_n  = n == 0 ? low : lows[n == 0 ? 0 : n-1];
        wire signed [SUM_W-1:0] high_n = n == 0 ? high : highs[n == 0 ? 0 : n-1];
        always_comb
          if (age >= 6'(R + 2 + n) && firsts[R+2+n]) begin
            if (G > 1) begin
              assert (tile.g_user[u].out0[0] == low_n);
              assert (tile.g_user[u].row1 == high_n);
            end else assert (tile.g_user[u].out0[0] == high_n);
          end
      end
    end else begin : g_scale
      // Three cycles after its row waited: the plain formula, wide.
      logic signed [ACC_W-1:0] wanted_1, wanted_2, wanted_3, total;
      logic [5:0] shift_1, shift_2;
      logic [2:0] drains;
      always_comb begin
        total = ACC_W'(tile.g_user[u].out0[0]) * ACC_W'($signed({1'b0, tile.scale_d[7:0]}));
        if (G > 1)
          total += ACC_W'(tile.g_user[u].row1) * ACC_W'($signed({1'b0, tile.scale_d[(G-1)*8 +: 8]}));
        if (ASYM != 0)
          for (int g = 0; g < G; g++)
            total += ACC_W'($signed(tile.scale_d[ASYM*(G*8+g*16) +: 16*ASYM+(1-ASYM)]))
                     * ACC_W'($signed(tile.g_user[u].xsum_c[g*XSUM_W +: XSUM_W]));
      end
      always_ff @(posedge clk) begin
        wanted_1 <= total << tile.g_user[u].shift_c;
        wanted_2 <= wanted_1;
        wanted_3 <= wanted_2;
        drains <= {drains[1:0], tile.drain};
      end
      always_comb if (age >= 3 && drains[2]) assert (y[u] == wanted_3);
    end
  end
endmodule
