// Attention of one user: NKV heads side by side, then 1/Z and the channels in order.
//
// Head vectors come whole from the quantiser, HPP heads at a time (group g holds heads g * HPP ...).
// A mix leaves every query head's sums in a buffer; a `read` of word w takes TR channels of it:
//     a = rs(rs(A, c) * C[i], shift), saturated to 38 bits for the block quantiser.
// Latency of a read: 7. Score and mix steps: see hc_kvhead.
module hc_attend
  import hardcast_pkg::*;
(
  input  logic                        clk,
  input  logic                        rst_n,
  input  logic                        active,      // of this run: an idle user's cache stays as it is
  input  logic [POS_W-1:0]            position,
  // head vectors
  input  logic                        q_valid,
  input  logic                        k_valid,
  input  logic                        v_valid,
  input  logic [GROUP_AW-1:0]         group,
  input  logic [HPP-1:0][HD*8+3:0]    heads,
  input  logic [KV_AW-1:0]            kv_base,     // of the layer
  // steps
  input  logic                        score,
  input  logic                        mix,
  input  logic                        first,
  input  logic                        last,
  input  logic [FOLD_AW-1:0]          fold,
  input  logic [CHUNK_AW-1:0]         chunk,
  input  logic [POS_W-1:0]            window,      // 0: all
  output logic                        score_done,  // of the last query head
  output logic                        mix_done,
  // result
  input  logic                        read,
  input  logic [QWORD_AW-1:0]         read_word,
  output logic [TR-1:0][37:0]         a
);
  /*verilator no_inline_module*/
  localparam int PW = (P > 1) ? $clog2(P) : 1;
  logic [P-1:0]     bank, visible;
  logic [KV_AW-1:0] kv_waddr, kv_raddr;
  assign kv_waddr = kv_base + KV_AW'(position / POS_W'(P));
  assign kv_raddr = kv_base + KV_AW'(chunk);
  always_comb begin
    bank = '0;
    bank[PW'(position % POS_W'(P))] = active;
    for (int p = 0; p < P; p++) begin
      automatic logic [POS_W-1:0] at = POS_W'(chunk) * POS_W'(P) + POS_W'(p);
      visible[p] = at <= position && (window == 0 || at + window > position);
    end
  end

  logic [NKV-1:0] score_dones, mix_dones, mix_wholes;
  logic [NKV-1:0][FOLD_AW-1:0] mix_folds, done_folds;
  logic [NKV-1:0][HD-1:0][MIX_W-1:0] mixed;
  logic [NKV-1:0][16:0] reciprocal;
  logic [NKV-1:0][5:0] drop, shift;
  for (genvar h = 0; h < NKV; h++) begin : g_kv
    logic [FOLD-1:0] q_we;
    logic [FOLD-1:0][HD*8+3:0] q_wdata;
    for (genvar f = 0; f < FOLD; f++) begin : g_q
      assign q_we[f]    = q_valid && group == GROUP_AW'((h * FOLD + f) / HPP);
      assign q_wdata[f] = heads[(h * FOLD + f) % HPP];
    end
    hc_kvhead u_head (
      .clk, .rst_n,
      .k_we(k_valid && group == GROUP_AW'(h / HPP)), .v_we(v_valid && group == GROUP_AW'(h / HPP)),
      .kv_waddr, .kv_bank(bank), .kv_wdata(heads[h % HPP]), .q_we, .q_wdata,
      .score, .mix, .first, .last, .fold, .chunk, .kv_raddr, .visible,
      .score_done(score_dones[h]), .mix_whole(mix_wholes[h]), .mix_fold(mix_folds[h]),
      .mixed(mixed[h]), .mix_done(mix_dones[h]), .done_fold(done_folds[h]),
      .reciprocal(reciprocal[h]), .drop(drop[h]), .shift(shift[h])
    );
  end

  // Every head's sums, in natural order of channels, and its scalars.
  logic [HD-1:0][MIX_W-1:0] sums[NQ];
  logic [28:0] scalars[NQ];
  logic [NKV-1:0][HD-1:0][MIX_W-1:0] natural;
  for (genvar h = 0; h < NKV; h++) begin : g_natural
    for (genvar i = 0; i < HD; i++) begin : g_channel
      assign natural[h][i] = mixed[h][head_layout(i)];
    end
  end
  always_ff @(posedge clk)
    for (int h = 0; h < NKV; h++) begin
      if (mix_wholes[h]) sums[h*FOLD+32'(mix_folds[h])] <= natural[h];
      if (mix_dones[h])
        scalars[h*FOLD+32'(done_folds[h])] <= {shift[h], drop[h], reciprocal[h]};
    end
  always_ff @(posedge clk) begin
    score_done <= score_dones[0] && rst_n;
    mix_done   <= mix_dones[0] && done_folds[0] == FOLD_AW'(FOLD - 1) && rst_n;
  end

  // The reading pipeline. A word lies in one head, or holds whole heads side by side.
  localparam int HPW = (TR > HD) ? TR / HD : 1;    // heads a word
  localparam int WPH = (TR > HD) ? 1 : HD / TR;    // words a head
  logic read_1, read_2, read_3, read_4, read_5, read_6;
  logic [HPW-1:0][28:0] scalar_1;
  logic [TR-1:0][MIX_W-1:0] sum_1;
  always_ff @(posedge clk) begin
    {read_6, read_5, read_4, read_3, read_2, read_1} <=
        rst_n ? {read_5, read_4, read_3, read_2, read_1, read} : '0;
    if (read)
      for (int m = 0; m < HPW; m++) begin
        automatic int unsigned head = (32'(read_word) / WPH) * HPW + m;
        if (head >= NQ) head = NQ - 1;  // the padding of the last word
        scalar_1[m] <= scalars[head];
        for (int i = 0; i < TR / HPW; i++)
          // lanes beyond the last head hold 0: the ROM's padding is no zero
          sum_1[m*(TR/HPW)+i] <= 32'(read_word) * TR + m * (TR / HPW) + i >= NQ * HD ? '0
              : sums[head][(32'(read_word) % WPH) * TR * int'(WPH > 1) + i];
      end
  end
  for (genvar i = 0; i < TR; i++) begin : g_lane
    localparam int M = i / (TR / HPW);
    logic signed [MIX_W-1:0] half_2;
    logic signed [36:0] t_3;
    logic signed [45:0] low_4, mid_4, high_4;
    logic signed [54:0] v_5, w_6;
    logic [16:0] recip_2, recip_3;
    logic [5:0] shift_2, shift_3, shift_4, shift_5, drop_1;
    assign drop_1 = scalar_1[M][22:17];
    always_ff @(posedge clk) begin
      if (read_1) begin
        half_2 <= drop_1 == 0 ? $signed(sum_1[i]) <<< 1 : $signed(sum_1[i]) >>> (drop_1 - 6'd1);
        {shift_2, recip_2} <= {scalar_1[M][28:23], scalar_1[M][16:0]};
      end
      if (read_2) begin
        t_3 <= 37'((half_2 + MIX_W'(1)) >>> 1);
        {shift_3, recip_3} <= {shift_2, recip_2};
      end
      if (read_3) begin
        low_4  <= 46'(t_3) * 46'($signed({1'b0, recip_3[5:0]}));
        mid_4  <= 46'(t_3) * 46'($signed({1'b0, recip_3[11:6]}));
        high_4 <= 46'(t_3) * 46'($signed({1'b0, recip_3[16:12]}));
        shift_4 <= shift_3;
      end
      if (read_4) begin
        v_5 <= 55'(low_4) + (55'(mid_4) <<< 6) + (55'(high_4) <<< 12);
        shift_5 <= shift_4;
      end
      if (read_5) w_6 <= v_5 >>> (shift_5 - 6'd1);
      if (read_6) a[i] <= halved(w_6);
    end
  end

  // (w + 1) >>> 1 within 38 bits. Too large is seen on w itself, beside the addition.
  function automatic logic [37:0] halved(input logic signed [54:0] w);
    if (!w[54] && (w[53:38] != '0 || w[37:0] == '1)) return 38'h1fffffffff;
    if (w[54] && w[53:38] != '1) return 38'h2000000000;
    return 38'($signed(w[38:0]) >>> 1) + 38'(w[0]);
  endfunction
endmodule
