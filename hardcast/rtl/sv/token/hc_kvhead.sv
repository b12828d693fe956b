// One KV head of one user: K and V of every layer in P banks, and the arithmetic of its FOLD query heads.
//
// Pass 1 (score) reads P keys a cycle: S = rs((q.k) << exponents, 2 rope - score), kept in the score
// RAM, their maximum in a register a query head. Pass 2 (mix) reads P scores and values a cycle:
//     p = rs(X[d mod 256], min(d >> 8, 40)), d = max - S;  Z += sum p;  A += sum p * (v << exponent)
// exact, then what the division needs: C[i], c and the last shift (golden's attend).
// Latency: SUM_STAGES_HD + MAX_STAGES + 7 from a score step to its maximum, SUM_STAGES_P + 9 from a mix
// step to its result.
module hc_kvhead
  import hardcast_pkg::*, hc_tables_pkg::*;
(
  input  logic                     clk,
  input  logic                     rst_n,
  // writes
  input  logic                     k_we,
  input  logic                     v_we,
  input  logic [KV_AW-1:0]         kv_waddr,   // layer and chunk
  input  logic [P-1:0]             kv_bank,    // one hot
  input  logic [HD*8+3:0]          kv_wdata,   // exponent above the codes
  input  logic [FOLD-1:0]          q_we,
  input  logic [FOLD-1:0][HD*8+3:0] q_wdata,
  // steps
  input  logic                     score,
  input  logic                     mix,
  input  logic                     first,      // chunk of a query head
  input  logic                     last,
  input  logic [FOLD_AW-1:0]       fold,
  input  logic [CHUNK_AW-1:0]      chunk,
  input  logic [KV_AW-1:0]         kv_raddr,
  input  logic [P-1:0]             visible,
  output logic                     score_done,
  output logic                     mix_whole,  // mixed is that of query head mix_fold
  output logic [FOLD_AW-1:0]       mix_fold,
  output logic [HD-1:0][MIX_W-1:0] mixed,
  output logic                     mix_done,   // two cycles later: what its division needs
  output logic [FOLD_AW-1:0]       done_fold,
  output logic [16:0]              reciprocal,
  output logic [5:0]               drop,       // c
  output logic [5:0]               shift       // 16 + (b - 1) - c + v - a
);
  /*verilator no_inline_module*/
  localparam int DOT_W = 15 + $clog2(HD) + 1;
  localparam int LD = SUM_STAGES_HD;
  localparam int LM = SUM_STAGES_P;
  localparam int Z_W = 12 + $clog2(CTX + P) + 1;

  logic [HD*8+3:0] q[FOLD];
  always_ff @(posedge clk)
    for (int f = 0; f < FOLD; f++) if (q_we[f]) q[f] <= q_wdata[f];

  // ---- pass 1 ----
  logic score_0, score_1, score_d, score_s;  // key read; it stands still; dot product there; score there
  logic [HD*8+3:0] q_0, q_1;
  logic first_s, last_s;
  logic [FOLD_AW-1:0] fold_s;
  logic [CHUNK_AW-1:0] chunk_s;
  logic [P-1:0] visible_s;
  always_ff @(posedge clk) begin
    score_0 <= score && rst_n;
    score_1 <= score_0 && rst_n;
    if (score) q_0 <= q[fold];
    if (score_0) q_1 <= q_0;
  end
  hc_delay #(.W(1), .N(LD + 3), .RESET(1)) u_score_d (.clk, .rst_n, .d(score), .q(score_d));
  hc_delay #(.W(1), .N(LD + 5), .RESET(1)) u_score_s (.clk, .rst_n, .d(score), .q(score_s));
  hc_delay #(.W(2 + FOLD_AW + CHUNK_AW + P), .N(LD + 5)) u_ctl_s (
    .clk, .rst_n, .d({first, last, fold, chunk, visible}),
    .q({first_s, last_s, fold_s, chunk_s, visible_s})
  );

  logic [P-1:0][SCORE_W-1:0] score_word, score_rword;
  logic [P-1:0][SCORE_W-1:0] bank_max;
  for (genvar p = 0; p < P; p++) begin : g_bank
    logic [HD*8+3:0] k_0, k_1;
    hc_ram #(.W(HD * 8 + 4), .D(KV_D)) u_k (
      .clk, .we(k_we && kv_bank[p]), .waddr(kv_waddr), .wdata(kv_wdata),
      .re(score), .raddr(kv_raddr), .rdata(k_0)
    );
    logic score_2;
    logic [HD-1:0][DOT_W-1:0] product;
    logic [4:0] exp_2, exp_d;
    always_ff @(posedge clk) begin
      if (score_0) k_1 <= k_0;
      score_2 <= score_1 && rst_n;
      if (score_1) begin
        for (int i = 0; i < HD; i++)
          product[i] <= DOT_W'($signed(q_1[i*8 +: 8])) * DOT_W'($signed(k_1[i*8 +: 8]));
        exp_2 <= 5'(q_1[HD*8 +: 4]) + 5'(k_1[HD*8 +: 4]);
      end
    end
    logic signed [DOT_W-1:0] dot;
    hc_sum #(.N(HD), .W(DOT_W)) u_dot (.clk, .en(score_2), .d(product), .q(dot));
    hc_delay #(.W(5), .N(LD)) u_exp (.clk, .rst_n, .d(exp_2), .q(exp_d));

    logic signed [DOT_W+30:0] wide;
    logic score_d1;
    always_ff @(posedge clk) begin
      score_d1 <= score_d && rst_n;
      if (score_d) wide <= (DOT_W+31)'(dot) <<< exp_d;
      if (score_d1)
        score_word[p] <= SCORE_W'((wide + (DOT_W+31)'(1 << (SCORE_SHIFT - 1))) >>> SCORE_SHIFT);
    end

    // running maximum of this bank
    localparam logic signed [SCORE_W-1:0] LOWEST = {1'b1, {(SCORE_W-1){1'b0}}};
    always_ff @(posedge clk)
      if (score_s) begin
        automatic logic signed [SCORE_W-1:0] sofar = first_s ? LOWEST : $signed(bank_max[p]);
        automatic logic signed [SCORE_W-1:0] now = visible_s[p] ? $signed(score_word[p]) : LOWEST;
        bank_max[p] <= now > sofar ? now : sofar;
      end
  end

  hc_ram #(.W(P * SCORE_W), .D(FOLD * CHUNKS)) u_scores (
    .clk, .we(score_s), .waddr(SCORE_AW'(fold_s * CHUNKS) + SCORE_AW'(chunk_s)), .wdata(score_word),
    .re(mix), .raddr(SCORE_AW'(fold * CHUNKS) + SCORE_AW'(chunk)), .rdata(score_rword)
  );

  // maximum over banks, a register a level
  logic max_valid;
  logic [FOLD_AW-1:0] max_fold;
  logic signed [SCORE_W-1:0] max_found;
  hc_delay #(.W(1), .N(MAX_STAGES + 1), .RESET(1)) u_max_valid (
    .clk, .rst_n, .d(score_s && last_s), .q(max_valid)
  );
  hc_delay #(.W(FOLD_AW), .N(MAX_STAGES + 1)) u_max_fold (.clk, .rst_n, .d(fold_s), .q(max_fold));
  hc_max #(.N(P), .W(SCORE_W)) u_max (.clk, .d(bank_max), .q(max_found));
  logic signed [SCORE_W-1:0] max[FOLD];
  always_ff @(posedge clk) begin
    if (max_valid) max[max_fold] <= max_found;
    score_done <= max_valid && max_fold == FOLD_AW'(FOLD - 1) && rst_n;
  end

  // ---- pass 2 ----
  logic mix_1, mix_2, mix_3, mix_4, mix_5, mix_6;
  logic [P-1:0] visible_1, visible_2, visible_3;
  logic signed [SCORE_W-1:0] max_1;
  logic [KV_AW-1:0] kv_raddr_3;
  always_ff @(posedge clk) begin
    {mix_6, mix_5, mix_4, mix_3, mix_2, mix_1} <=
        rst_n ? {mix_5, mix_4, mix_3, mix_2, mix_1, mix} : '0;
    {visible_3, visible_2, visible_1} <= {visible_2, visible_1, visible};
    if (mix) max_1 <= max[fold];
  end
  hc_delay #(.W(KV_AW), .N(3)) u_vaddr (.clk, .rst_n, .d(kv_raddr), .q(kv_raddr_3));

  logic [P-1:0][11:0]     p_4, p_5;
  for (genvar p = 0; p < P; p++) begin : g_mix
    logic [HD*8+3:0] v_4;
    hc_ram #(.W(HD * 8 + 4), .D(KV_D)) u_v (
      .clk, .we(v_we && kv_bank[p]), .waddr(kv_waddr), .wdata(kv_wdata),
      .re(mix_3), .raddr(kv_raddr_3), .rdata(v_4)
    );
    logic [SCORE_W:0] d_2;
    logic [11:0] x_3;
    logic [5:0] shift_3;
    logic signed [27:0] weight_5;
    logic [HD*8-1:0] v_5;
    logic [HD-1:0][MIX_W-1:0] product_6;
    always_ff @(posedge clk) begin
      if (mix_1) d_2 <= (SCORE_W+1)'(max_1) - (SCORE_W+1)'($signed(score_rword[p]));
      if (mix_2) begin
        x_3 <= EXP2[d_2[7:0]];
        shift_3 <= (d_2 >> 8) > 40 ? 6'd40 : 6'(d_2 >> 8);
      end
      if (mix_3) begin
        automatic logic [12:0] h = shift_3 == 0 ? {x_3, 1'b0} : 13'(x_3 >> (shift_3 - 6'd1));
        p_4[p] <= visible_3[p] ? 12'((14'(h) + 14'd1) >> 1) : '0;
      end
      if (mix_4) begin
        weight_5 <= 28'(p_4[p]) << v_4[HD*8 +: 4];
        v_5      <= v_4[HD*8-1:0];
        p_5[p]   <= p_4[p];
      end
      if (mix_5)
        for (int i = 0; i < HD; i++)
          product_6[i] <= MIX_W'(weight_5) * MIX_W'($signed(v_5[i*8 +: 8]));
    end
  end

  // sums over the P positions, then over chunks
  logic mix_a, first_a, last_a;
  logic [FOLD_AW-1:0] fold_a;
  hc_delay #(.W(1), .N(LM + 6), .RESET(1)) u_mix_a (.clk, .rst_n, .d(mix), .q(mix_a));
  hc_delay #(.W(2 + FOLD_AW), .N(LM + 6)) u_ctl_a (
    .clk, .rst_n, .d({first, last, fold}), .q({first_a, last_a, fold_a})
  );
  logic [P-1:0][Z_W-1:0] p_6;
  logic [Z_W-1:0] z_a, z;
  always_ff @(posedge clk)
    if (mix_5) for (int p = 0; p < P; p++) p_6[p] <= Z_W'(p_5[p]);
  hc_sum #(.N(P), .W(Z_W)) u_z (.clk, .en(mix_6), .d(p_6), .q(z_a));
  for (genvar i = 0; i < HD; i++) begin : g_channel
    logic [MIX_W-1:0] total;
    logic [P-1:0][MIX_W-1:0] products;
    for (genvar p = 0; p < P; p++) begin : g_position
      assign products[p] = g_mix[p].product_6[i];
    end
    hc_sum #(.N(P), .W(MIX_W)) u_sum (.clk, .en(mix_6), .d(products), .q(total));
    always_ff @(posedge clk) if (mix_a) mixed[i] <= (first_a ? '0 : mixed[i]) + total;
  end

  // 1/Z: the bits after Z's leading one index the table.
  logic [5:0] b_2;
  logic [7:0] index_2;
  logic whole_2;
  logic [FOLD_AW-1:0] fold_2;
  always_ff @(posedge clk) begin
    mix_whole <= mix_a && last_a && rst_n;
    whole_2 <= mix_whole && rst_n;
    mix_done <= whole_2 && rst_n;
    mix_fold <= fold_a;
    fold_2 <= mix_fold;
    done_fold <= fold_2;
    if (mix_a) z <= z_a + (first_a ? '0 : z);
    if (mix_whole) begin
      automatic logic [5:0] length = '0;
      for (int i = 0; i < Z_W; i++) if (z[i]) length = 6'(i + 1);
      b_2     <= length;
      index_2 <= 8'(({z, 8'd0} << (6'(Z_W) - length)) >> (Z_W - 1));  // 8 bits below the top one
    end
    if (whole_2) begin
      reciprocal <= RECIPROCAL[index_2];
      drop  <= b_2 > 6'(MIX_BITS) ? b_2 - 6'(MIX_BITS) : '0;
      shift <= 6'(16 + POINT_V - POINT_A - 1) + b_2 - (b_2 > 6'(MIX_BITS) ? b_2 - 6'(MIX_BITS) : '0);
    end
  end

`ifndef SYNTHESIS
  always_ff @(posedge clk)
    if (rst_n) begin
      assert (!(score && mix)) else $error("both passes at once");
      // the largest score weighs 4095, so that 1/Z has the bits that its table needs; an idle user,
      // who has no bank to write to, may see nothing of what the others sweep
      if (mix_whole && kv_bank != '0) assert (z >= Z_W'(4095)) else $error("attention sees no position");
    end
`endif
endmodule
