// The K largest logits of a vocabulary in descending order, equals by the smaller id, K <= Depth.
//
// While the logits stream, the largest of each RAM word goes into the sorter. A word below the K-th
// of those maxima holds none of the K largest logits (K words each have a better one), so only
// N = min(Words, K) words are ever read again. That needs no more than they hold:
//   passes 0 to 7  radix select of the K-th largest logit, 4 bits a pass from the top: in each pass
//                  all N words go by, and each of 15 thresholds counts the logits that reach it
//   pass 8         all N words again, in the order of their ids: the logits above the K-th largest
//                  and the first of its equals go into the sorter, one a cycle
// The order of ids: pass 0 reads the words as the sorter has them and lists them, pass 1 sorts that
// list by word (the sorter is free during the passes), pass 2 lists them again.
//
// Time: exactly 8 * (N + 6 + Stages) + (N + K) + 7 cycles from start to done, Stages being
// hc_popcount's: in pass 8 a word costs a cycle, and a cycle more for each logit that it gives, and
// those are K. K is want, or Vocab where that is less.
// Contract: start not before the last word_* has reached the sorter's first cell (a cycle after
// word_valid); from done on a reader may take sorted entries from index 0 up, one a cycle.
module hc_select #(
  parameter int Lanes = 4,
  parameter int Vocab = 1000,
  parameter int Depth = 256,
  parameter int WordWidth = 8,
  parameter int IdWidth = 10
) (
  input  logic                     clk,
  input  logic                     rst_n,
  // largest logit of each word, in order; keep only if a selection will follow
  input  logic                     word_valid,
  input  logic                     word_first,
  input  logic [WordWidth-1:0]     word_base,
  input  logic [31:0]              word_value,
  input  logic                     start,
  input  logic [8:0]               want,  // 1..Depth
  output logic                     done,
  output logic [8:0]               count,  // K
  // the logit RAM: word of ram_base two accesses later; the second register has its own enable
  output logic                     ram_read,
  output logic [WordWidth-1:0]     ram_base,
  output logic                     ram_next,
  input  logic [Lanes-1:0][31:0]   ram_word,
  // the sorted list, while no selection runs
  input  logic                     read,
  input  logic [$clog2(Depth)-1:0] read_index,
  output logic [31:0]              read_logit,  // two cycles after read
  output logic [IdWidth-1:0]       read_id
);
  localparam int Words = (Vocab + Lanes - 1) / Lanes;
  localparam int LastLanes = Vocab - (Words - 1) * Lanes;  // that hold a token in the last word
  localparam int IndexWidth = $clog2(Depth);
  localparam int CountWidth = $clog2(Depth * Lanes + 1);
  localparam int LaneCount = $clog2(Lanes + 1);
  localparam logic [31:0] Sign = 32'h8000_0000;  // makes signed order unsigned

  // ------------------------------------------------------------------ stage A: the word's index
  logic                  run_q;
  logic [3:0]            pass_q;  // 8: extraction
  logic [IndexWidth-1:0] index_q, last_index_q;
  logic                  step;       // the read pipeline moves; it waits only in pass 8
  logic                  pass_done;  // counts of a pass's last word are there
  wire                   extract = pass_q[3];
  wire                   sorted_source = pass_q == 4'd0 || pass_q == 4'd2;
  wire [8:0]             words_read = (32'(want) < Words) ? want : 9'(Words);

  always_ff @(posedge clk) begin
    if (!rst_n) begin
      run_q  <= 1'b0;
      pass_q <= '0;
    end else if (start) begin
      run_q        <= 1'b1;
      pass_q       <= '0;
      index_q      <= '0;
      last_index_q <= IndexWidth'(words_read - 9'd1);
      count        <= (32'(want) < Vocab) ? want : 9'(Vocab);
    end else if (pass_done) begin
      run_q   <= 1'b1;
      pass_q  <= pass_q + 4'd1;
      index_q <= '0;
    end else if (run_q && step) begin
      run_q   <= index_q != last_index_q;
      index_q <= index_q + IndexWidth'(1);
    end
  end

  // --------------------- stages B, C: the index's word; D: RAM address; E, F: the RAM's registers
  logic [5:1]           valid_q, first_q, last_q;  // 1..5: B..F
  logic [WordWidth-1:0] listed_b, listed_c, word_c, base_d, base_e, base_f;
  logic [IdWidth-1:0]   sorted_id;
  assign word_c = sorted_source ? WordWidth'(sorted_id) : listed_c;
  always_ff @(posedge clk) begin
    if (!rst_n) valid_q <= '0;
    else if (step && (run_q || |valid_q)) begin
      valid_q <= {valid_q[4:1], run_q};
      first_q <= {first_q[4:1], index_q == '0};
      last_q  <= {last_q[4:1], index_q == last_index_q};
    end
    if (step && valid_q[1]) listed_c <= listed_b;
    if (step && valid_q[2]) base_d <= word_c;
    if (step && valid_q[3]) base_e <= base_d;
    if (step && valid_q[4]) base_f <= base_e;
  end
  assign ram_read = step && valid_q[3];
  assign ram_base = base_d;
  assign ram_next = step && valid_q[4];

  logic [IndexWidth-1:0] listed_q;
  wire  [IndexWidth-1:0] list_index = first_q[3] ? '0 : listed_q;
  always_ff @(posedge clk) if (valid_q[3]) listed_q <= list_index + IndexWidth'(1);
  hc_ram #(.W(WordWidth), .D(Depth)) u_list (
    .clk,
    .we   (valid_q[3] && sorted_source),
    .waddr(list_index),
    .wdata(base_d),
    .re   (run_q && step),
    .raddr(index_q),
    .rdata(listed_b)
  );

  // -------------------------------------- stage F: keys against the threshold; G: hits by nibble
  logic [31:0]            threshold_q, decided_q;  // decided: its bits so far, from the top
  logic [15:1][Lanes-1:0] hit_q;
  logic                   hit_valid_q, hit_first_q, hit_last_q;
  wire                    count_f = valid_q[5] && !extract;
  wire                    whole_f = base_f != WordWidth'(Words - 1);  // all lanes hold a token
  always_ff @(posedge clk) begin
    hit_valid_q <= count_f && rst_n;
    if (count_f) begin
      {hit_first_q, hit_last_q} <= {first_q[5], last_q[5]};
      for (int i = 0; i < Lanes; i++) begin
        automatic logic [31:0] key = ram_word[i] ^ Sign;
        automatic logic [3:0] nibble = 4'(key >> (32'd28 - 4 * 32'(pass_q[2:0])));
        automatic logic equal = (whole_f || i < LastLanes)
                                && ((key ^ threshold_q) & decided_q) == '0;
        for (int n = 1; n < 16; n++) hit_q[n][i] <= equal && nibble >= 4'(n);
      end
    end
  end

  logic                       sum_valid, sum_first, sum_last;
  logic [15:1][LaneCount-1:0] sum;
  hc_popcount #(.Sets(15), .Lanes(Lanes)) u_popcount (
    .clk, .rst_n, .in_valid(hit_valid_q), .in_first(hit_first_q), .in_last(hit_last_q),
    .in_bits(hit_q), .out_valid(sum_valid), .out_first(sum_first), .out_last(sum_last),
    .out_count(sum)
  );
  assign pass_done = sum_valid && sum_last;

  // -------- the pass's counts; the largest nibble that enough reach; what is still needed below it
  logic [15:1][CountWidth-1:0] total_q;
  logic                        counted_q, enough_valid_q, chosen_q;
  logic [15:1]                 enough_q;
  logic [3:0]                  nibble_q;
  logic [8:0]                  above_q, need_q;  // need: of the logits equal so far, 1..K
  logic [2:0]                  place_q;          // of the nibble, from the top
  logic pick, pick_equal;  // extraction takes a logit, one equal to the K-th
  always_ff @(posedge clk) begin
    {chosen_q, enough_valid_q, counted_q} <= rst_n ? {enough_valid_q, counted_q, pass_done} : '0;
    if (sum_valid)
      for (int n = 1; n < 16; n++)
        total_q[n] <= CountWidth'(sum[n]) + (sum_first ? '0 : total_q[n]);
    if (counted_q)
      for (int n = 1; n < 16; n++) enough_q[n] <= total_q[n] >= CountWidth'(need_q);
    if (enough_valid_q) begin
      nibble_q <= '0;
      above_q  <= 9'(total_q[1]);
      for (int n = 1; n < 16; n++)
        if (enough_q[n]) begin
          nibble_q <= 4'(n);
          above_q  <= (n == 15) ? '0 : 9'(total_q[n % 15 + 1]);  // fewer than need, so 9 bits
        end
    end
    if (start) begin
      need_q      <= (32'(want) < Vocab) ? want : 9'(Vocab);
      threshold_q <= '0;
      decided_q   <= '0;
      place_q     <= '0;
    end else if (chosen_q) begin
      need_q      <= need_q - above_q;
      threshold_q <= threshold_q | ({nibble_q, 28'd0} >> (4 * 32'(place_q)));
      decided_q   <= {4'hF, decided_q[31:4]};
      place_q     <= place_q + 3'd1;
    end else if (pick && pick_equal) need_q <= need_q - 9'd1;
  end

  // ---------------------------------------------- pass 8: one logit a cycle, lanes from the left
  logic [Lanes-1:0]       above_g, equal_g, first_above, first_equal, pick_lane, picked_h;
  logic [Lanes-1:0][31:0] word_g;
  logic [WordWidth-1:0]   base_g;
  logic                   last_g, picked_valid_h, fresh_q;
  assign pick_equal = above_g == '0;
  assign pick       = above_g != '0 || (equal_g != '0 && need_q != '0);
  assign pick_lane  = pick_equal ? first_equal : first_above;
  assign step       = !pick;
  hc_leftmost #(.Width(Lanes)) u_above (.bits(above_g), .one(first_above));
  hc_leftmost #(.Width(Lanes)) u_equal (.bits(equal_g), .one(first_equal));
  always_ff @(posedge clk) begin
    picked_valid_h <= pick && rst_n;
    done           <= last_g && step && rst_n;
    if (!rst_n || start) begin
      {above_g, equal_g} <= '0;
      last_g             <= 1'b0;
    end else if (pick) begin
      picked_h <= pick_lane;
      if (pick_equal) equal_g <= equal_g & ~first_equal;
      else above_g <= above_g & ~first_above;
    end else if (valid_q[5] && extract) begin
      for (int i = 0; i < Lanes; i++) begin
        automatic logic [31:0] key = ram_word[i] ^ Sign;
        above_g[i] <= (whole_f || i < LastLanes) && key > threshold_q;
        equal_g[i] <= (whole_f || i < LastLanes) && key == threshold_q;
      end
      word_g  <= ram_word;
      base_g  <= base_f;
      last_g  <= last_q[5];
    end else last_g <= 1'b0;
    if (start) fresh_q <= 1'b1;
    else if (picked_valid_h) fresh_q <= 1'b0;
  end

  // --------------------------------------------------------------------- what goes into the sorter
  logic               sort_valid_q, sort_first_q;
  logic [31:0]        sort_key_q;
  logic [IdWidth-1:0] sort_id_q;
  wire                relist = valid_q[3] && pass_q == 4'd1;
  always_ff @(posedge clk) begin
    sort_valid_q <= rst_n && (word_valid || relist || picked_valid_h);
    if (word_valid) begin
      {sort_first_q, sort_key_q, sort_id_q} <= {word_first, word_value ^ Sign, IdWidth'(word_base)};
    end else if (relist) begin
      {sort_first_q, sort_key_q, sort_id_q} <= {first_q[3], ~32'(base_d), IdWidth'(base_d)};
    end else if (picked_valid_h) begin
      // One lane is picked: each bit is an OR over the lanes, and'ed with it.
      automatic logic [31:0]        key = '0;
      automatic logic [IdWidth-1:0] id  = IdWidth'(base_g) << $clog2(Lanes);
      for (int b = 0; b < 32; b++) begin
        automatic logic [Lanes-1:0] column = '0;
        for (int i = 0; i < Lanes; i++) column[i] = word_g[i][b];
        key[b] = |(picked_h & column);
      end
      key ^= Sign;
      for (int b = 0; b < $clog2(Lanes) && b < IdWidth; b++) begin
        automatic logic [Lanes-1:0] column = '0;
        for (int i = 0; i < Lanes; i++) column[i] = i[b];
        id[b] = |(picked_h & column);
      end
      {sort_first_q, sort_key_q, sort_id_q} <= {fresh_q, key, id};
    end
  end

  logic [31:0] sorted_key;
  hc_sorter #(.Depth(Depth), .IdWidth(IdWidth)) u_sorter (
    .clk, .rst_n, .in_valid(sort_valid_q), .in_first(sort_first_q), .in_key(sort_key_q),
    .in_id(sort_id_q), .read(read || (run_q && sorted_source)),
    .read_index(run_q ? index_q : read_index), .read_key(sorted_key), .read_id(sorted_id)
  );
  assign read_logit = sorted_key ^ Sign;
  assign read_id    = sorted_id;

`ifndef SYNTHESIS
  logic [8:0] picked_q;
  always_ff @(posedge clk) picked_q <= start ? '0 : picked_q + 9'(pick);
  assert property (@(posedge clk) disable iff (!rst_n) start |-> want >= 1 && 32'(want) <= Depth);
  assert property (@(posedge clk) disable iff (!rst_n) done |-> picked_q == count);
  assert property (@(posedge clk) disable iff (!rst_n) chosen_q |-> above_q < need_q);
  assert property (@(posedge clk) disable iff (!rst_n) word_valid |-> !run_q && valid_q == '0);
  assert property (@(posedge clk) disable iff (!rst_n) read |-> !run_q);
`endif
endmodule
