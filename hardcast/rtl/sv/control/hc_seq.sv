// The sequencer: walks the program ROM and issues one step a cycle, matrix, vector or attention.
//
// A program word takes 1 cycle to load, then a cycle an issued step; a word with `wait_` set also waits
// until its last result has arrived (`done` pulses, one cycle each). Nothing depends on data, only on
// the positions (attention's chunks) and on the host's sampler settings.
module hc_seq
  import hardcast_pkg::*;
(
  input  logic               clk,
  input  logic               rst_n,
  input  logic               start,
  input  logic               want_logits,
  output logic               finished,      // pulse

  output logic [PROG_AW-1:0] prog_addr,
  input  prog_t              prog_word,     // of prog_addr a cycle ago

  // matrix steps (registered)
  output logic               mat_valid,
  output mat_t               mat,
  output rows_t              rows,          // rides along to the spine
  input  logic               rows_done,

  // vector steps (registered)
  output logic               vec_valid,
  output vec_t               vec,
  output logic [GAIN_AW-1:0] gain_addr,
  output logic [UIDX_W-1:0]  user,          // of an EMBED or ANGLE step: these go user by user
  output logic               embed_valid,
  output logic [XWORD_AW-1:0] embed_word,
  output logic               embed_done_flag,
  input  logic               blocks_done,
  input  logic               heads_done,
  input  logic               angle_done,
  input  logic               head_sum_done,
  input  logic               head_apply_done,
  input  logic               embed_done,

  // attention steps (registered)
  output logic               score,
  output logic               mix,
  output logic               chunk_first,
  output logic               chunk_last,
  output logic [FOLD_AW-1:0] fold,
  output logic [CHUNK_AW-1:0] chunk,
  output logic [KV_AW-1:0]   kv_base,
  output logic [POS_W-1:0]   window,
  output logic [47:0]        epsilon,
  input  logic [CHUNK_AW-1:0] first_chunk,  // that any user sees; for this window
  input  logic [CHUNK_AW-1:0] last_chunk,
  input  logic               score_done,
  input  logic               mix_done,

  output logic               sample,        // pulse
  input  logic               sample_done,

  // performance: which kind of work this cycle belongs to
  output logic [2:0]         kind
);
  typedef enum logic [2:0] {IDLE, FETCH, LOAD, RUN, WAIT, SCORE_WAIT, MIX_WAIT} state_e;
  state_e state;
  logic [PROG_AW-1:0] pc;
  prog_t w;
  assign prog_addr = pc;

  // loop counters of the step at hand
  logic [SLOT_AW-1:0] k;
  logic               act, plane;
  logic [9:0]         pass;
  logic [WORD_AW-1:0] round, word;       // word: also of vector steps
  logic [ROM_AW-1:0]  unit_addr;
  logic [WORD_AW-1:0] row_base;          // round * R
  logic [15:0]        in_block;
  logic               second;
  logic [WORD_AW-1:0] angle;             // word of cosines that a pair of words needs
  logic [UIDX_W-1:0]  user_n;
//if blocked
  logic [WORD_AW-1:0] place;             // HSUM: of a word among its head's in the order of their channels
  logic [WORD_AW-1:0] head_base, head_word;
  localparam int HALF_WORDS = WPBH / 2;
  always_comb begin
    head_word = head_base;               // words beyond the head are zeros
    if (place < WORD_AW'(HALF_WORDS)) head_word = head_base + (place << 1);
    else if (place < WORD_AW'(WPBH)) head_word = head_base + ((place - WORD_AW'(HALF_WORDS)) << 1) + 1'b1;
  end
  wire last_place = place == WORD_AW'(HEAD_READ - 1);
//else
  logic               half_n;            // HSUM: which half of a head of two blocks
  logic [WORD_AW-1:0] head_base, head_word;
  assign head_word = HSUM_WORDS == WPBH ? word : head_base + WORD_AW'(in_block << 1) + WORD_AW'(half_n);
//endif
  logic [1:0]         phase;             // of ATTEND: score, mix, read
  logic [FOLD_AW-1:0]  fold_n;
  logic [CHUNK_AW-1:0] chunk_n;

  wire last_k     = k == SLOT_AW'(R - 1);
  wire last_act   = act == w.wide;
  wire last_pass  = pass == w.passes - 10'd1;
  wire last_plane = plane == w.planes2;
  wire last_round = round == w.rounds - 1'b1;
  wire last_word  = word == w.words - 1'b1;
  wire is_heads   = w.op == OP_ROPE || w.op == OP_VALUE || w.op == OP_HSUM || w.op == OP_HAPPLY;
  wire [15:0] block_words = w.op == OP_HSUM ? 16'(HSUM_WORDS) : is_heads ? 16'(WPBH) : 16'(WPB64);
  wire last_in_block = in_block == block_words - 16'd1;
  wire [WORD_AW-1:0] padded = w.padded;
  wire last_padded = word == padded - 1'b1;
  wire last_user = user_n == UIDX_W'(U - 1);
  wire last_fold = fold_n == FOLD_AW'(FOLD - 1);
  wire last_chunk_n = chunk_n == last_chunk;

  // is this the step's last issue?
  logic last_issue;
  always_comb
    unique case (w.op)
      OP_MATVEC: last_issue = last_k && last_act && last_pass && last_plane && last_round;
      OP_EMBED:  last_issue = last_word && last_user;
      OP_ANGLE:  last_issue = last_word && second && last_user;
      OP_ATTEND: last_issue = phase == 2 ? last_padded : last_chunk_n && last_fold;
      OP_SAMPLE: last_issue = 1'b1;
      default:   last_issue = last_padded;
    endcase

  wire done = rows_done || blocks_done || heads_done || angle_done || head_sum_done || head_apply_done
            || embed_done || sample_done;

  always_ff @(posedge clk) begin
    finished  <= 1'b0;
    mat_valid <= 1'b0;
    vec_valid <= 1'b0;
    embed_valid <= 1'b0;
    score     <= 1'b0;
    mix       <= 1'b0;
    sample    <= 1'b0;
    if (!rst_n) begin
      state <= IDLE;
      pc    <= '0;
    end else
      unique case (state)
        IDLE: begin
          pc <= '0;
          if (start) state <= FETCH;
        end
        FETCH: state <= LOAD;
        LOAD: begin
          w  <= prog_word;
          pc <= pc + 1'b1;
          k  <= '0;
          act <= 1'b0;
          plane <= 1'b0;
          pass <= '0;
          round <= '0;
          word <= '0;
          unit_addr <= ROM_AW'(prog_word.rom_base);
          row_base <= '0;
          in_block <= '0;
          second <= 1'b0;
          angle <= '0;
//if blocked
          place <= '0;
//else
          half_n <= 1'b0;
//endif
          head_base <= '0;
          user_n <= '0;
          phase <= '0;
          fold_n <= '0;
          chunk_n <= first_chunk;  // of the window of the word being loaded
          if (prog_word.op == OP_END || (prog_word.head && !want_logits)) begin
            finished <= 1'b1;
            state <= IDLE;
          end else state <= RUN;
        end
        RUN: begin
          unique case (w.op)
            OP_MATVEC: begin
              mat_valid <= 1'b1;
              k <= last_k ? '0 : k + 1'b1;
              if (last_k) begin
                act <= !last_act;
                if (last_act) begin
                  unit_addr <= unit_addr + ROM_AW'(R);
                  pass <= last_pass ? '0 : pass + 10'd1;
                  if (last_pass) begin
                    plane <= !last_plane;
                    if (last_plane) begin
                      round <= round + 1'b1;
                      row_base <= row_base + WORD_AW'(R);
                    end
                  end
                end
              end
            end
            OP_EMBED: begin
              embed_valid <= 1'b1;
              word <= last_word ? '0 : word + 1'b1;
              if (last_word) user_n <= user_n + 1'b1;
            end
            OP_ANGLE: begin
              vec_valid <= 1'b1;
              second <= !second;
              if (second) begin
                word <= last_word ? '0 : word + 1'b1;
                if (last_word) user_n <= user_n + 1'b1;
              end
            end
            OP_ATTEND: begin
              score <= phase == 0;
              mix <= phase == 1;
              vec_valid <= phase == 2;
              if (phase == 2) begin
                word <= word + 1'b1;
                in_block <= last_in_block ? '0 : in_block + 16'd1;
              end else begin
                chunk_n <= last_chunk_n ? first_chunk : chunk_n + 1'b1;
                if (last_chunk_n) fold_n <= last_fold ? '0 : fold_n + 1'b1;
              end
            end
            OP_SAMPLE: sample <= 1'b1;
            default: begin
              vec_valid <= 1'b1;
              word <= word + 1'b1;
              in_block <= last_in_block ? '0 : in_block + 16'd1;
              second <= !second;
//if blocked
              place <= last_place ? '0 : place + 1'b1;
              if (last_place) head_base <= head_base + WORD_AW'(WPBH);
//else
              if (last_in_block) begin
                half_n <= HSUM_WORDS != WPBH && !half_n;
                if (half_n || HSUM_WORDS == WPBH) head_base <= head_base + WORD_AW'(WPBH);
              end
//endif
              if (second) angle <= angle == WORD_AW'(ANGLE_WORDS - 1) ? '0 : angle + 1'b1;
            end
          endcase
          if (last_issue) begin
            if (w.op == OP_ATTEND && phase == 0) state <= SCORE_WAIT;
            else if (w.op == OP_ATTEND && phase == 1) state <= MIX_WAIT;
            else state <= w.wait_ ? WAIT : LOAD;
          end
        end
        SCORE_WAIT: if (score_done) begin
          phase <= 2'd1;
          state <= RUN;
        end
        MIX_WAIT: if (mix_done) begin
          phase <= 2'd2;
          state <= RUN;
        end
        WAIT: if (done) state <= LOAD;
        default: state <= IDLE;
      endcase
  end
  assign window  = state == LOAD ? POS_W'(prog_word.window) : POS_W'(w.window);
  assign kv_base = KV_AW'(w.kv_base);
  assign epsilon = w.epsilon;

  // the steps themselves
  always_ff @(posedge clk) begin
    mat.first     <= k == '0;
    mat.half      <= k == SLOT_AW'(R / 2 - 1);
    mat.last      <= last_k;
    mat.wide      <= w.wide;
    mat.low       <= act;
    mat.codebook  <= CB_AW'(plane ? w.codebook_low : w.codebook);
    mat.add_shift <= (w.planes2 && !plane ? 4'(w.plane_shift) : 4'd0) + (w.wide && !act ? 4'd7 : 4'd0);
    mat.slice_addr <= SLICE_AW'(pass);
    mat.rom_addr  <= unit_addr + ROM_AW'(k);
    rows.slot       <= k;
    rows.unit_first <= !act && pass == 0 && !plane;
    rows.unit_final <= last_act && last_pass && last_plane;
    rows.normed     <= w.normed;
    rows.drop_base  <= w.drop_base;
    rows.shift_base <= w.shift_base;
    rows.add        <= w.add;
    rows.bias       <= w.bias;
    rows.dst        <= w.dst;
    rows.dst_base   <= w.dst_base;
    rows.word       <= row_base + WORD_AW'(k);
    rows.words      <= w.words;
    rows.row_addr   <= ROW_AW'(w.row_base) + ROW_AW'(row_base) + ROW_AW'(k);
    rows.bias_addr  <= BIAS_AW'(w.bias_base) + BIAS_AW'(row_base) + BIAS_AW'(k);
    rows.done       <= last_issue && w.wait_;

    unique case (w.op)
      OP_NORM:   vec.op <= VEC_NORM;
      OP_QUANT:  vec.op <= VEC_QUANT;
      OP_ROPE:   vec.op <= VEC_ROPE;
      OP_VALUE:  vec.op <= VEC_VALUE;
      OP_GATE:   vec.op <= VEC_GATE;
      OP_ANGLE:  vec.op <= VEC_ANGLE;
      OP_HSUM:   vec.op <= VEC_HSUM;
      OP_HAPPLY: vec.op <= VEC_HAPPLY;
//if behind
      OP_BSUM:   vec.op <= VEC_BSUM;
      OP_BADD:   vec.op <= VEC_BADD;
//endif
      default:   vec.op <= VEC_READ;
    endcase
    vec.base   <= w.op == OP_ATTEND ? '0 : w.dst_base;
    vec.word   <= w.op == OP_HSUM ? head_word : word;
//if blocked
    vec.head_first <= place == 0;
    vec.head_last  <= last_place;
//else
    vec.head_first <= in_block == 0 && !half_n;
    vec.head_last  <= last_in_block && (half_n || HSUM_WORDS == WPBH);
//endif
    vec.angle  <= w.op == OP_ANGLE ? word : angle;
//if blocked
    vec.zero   <= w.op == OP_HSUM ? place >= WORD_AW'(WPBH) : !is_heads && word >= w.words;
//else
    vec.zero   <= !is_heads && word >= w.words;
//endif
    vec.block_first <= in_block == 0;
    vec.block_last  <= last_in_block;
    vec.first  <= word == 0;
    vec.last   <= last_issue;
    vec.done   <= last_issue && w.wait_;
    vec.second <= second;
    vec.target <= w.target;
    vec.bits   <= w.bits;
    gain_addr  <= GAIN_AW'(w.gain_base) + (w.op == OP_HAPPLY ? GAIN_AW'(in_block) : GAIN_AW'(word));
    user       <= user_n;
    embed_word <= XWORD_AW'(word);
    embed_done_flag <= last_issue && w.wait_;
    chunk_first <= chunk_n == first_chunk;
    chunk_last  <= last_chunk_n;
    fold        <= fold_n;
    chunk       <= chunk_n;
  end

  always_comb
    if (state == IDLE || state == FETCH) kind = KIND_IDLE;
    else
      unique case (state == LOAD ? prog_word.op : w.op)
        OP_END:    kind = KIND_IDLE;
        OP_MATVEC: kind = KIND_MATVEC;
        OP_ATTEND: kind = KIND_ATTEND;
        OP_SAMPLE: kind = KIND_SAMPLE;
        default:   kind = KIND_VECTOR;
      endcase

`ifndef SYNTHESIS
  // Nothing finishes that no word waits for.
  always_ff @(posedge clk)
    if (rst_n && state != IDLE) begin
      assert (!done || state == WAIT) else $error("a result that nobody waits for");
      assert (!score_done || state == SCORE_WAIT) else $error("scores that nobody waits for");
      assert (!mix_done || state == MIX_WAIT) else $error("a mix that nobody waits for");
    end
`endif
endmodule
